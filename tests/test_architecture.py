"""Each heavy tool is imported in its named home only; the layers are import-linter's."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import TENSOR_MODULES
from tests.locations import ROOT

OURS = ("orchestrator", "prvr_model")
# Rooms, not files: inside its room a tool may move freely.
HOMES = {
    "torch": ("prvr_model",),
    "ray": ("orchestrator/executors", "orchestrator/cluster", "orchestrator/serving"),
    "fastapi": ("orchestrator/serving",),
    "uvicorn": ("orchestrator/serving",),
    "prometheus_client": ("orchestrator/serving",),
    "botocore": ("orchestrator/cluster",),
    "optuna": ("orchestrator/study",),
    "matplotlib": ("orchestrator/report",),
    "mlflow": ("orchestrator/tracking", "orchestrator/serving/gallery_model.py"),
    "click": ("orchestrator/cli.py", "orchestrator/commands"),
    "av": ("prvr_model/extraction",),
    "transformers": ("prvr_model/extraction",),
    "faiss": ("prvr_model/retrieval",),
    "h5py": ("prvr_model/store/importers",),
    "pyarrow": (
        "prvr_model/store",
        "prvr_model/files",
        "prvr_model/retrieval",
        "orchestrator/study",
        "orchestrator/serving",
    ),
}


def sources() -> list[Path]:
    return sorted([*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("prvr_model/**/*.py")])


@cache
def imported(source: Path) -> frozenset[str]:
    """Top-level packages that a file imports, anywhere in it; imports for type checkers apart."""
    return frozenset(_imports(ast.parse(source.read_text())))


def _imports(tree: ast.Module) -> Iterator[str]:
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("tool", HOMES)
def test_a_tool_is_imported_in_its_home_only(tool: str) -> None:
    homes = [ROOT / home for home in HOMES[tool]]
    users = {source for source in sources() if tool in imported(source)}
    assert users, f"nothing imports {tool}"
    strangers = {user for user in users if not any(user.is_relative_to(home) for home in homes)}
    assert {str(path.relative_to(ROOT)) for path in strangers} == set()


def test_modules_whose_tensors_are_checked_exist() -> None:
    for name in TENSOR_MODULES:
        assert importlib.util.find_spec(f"prvr_model.{name}"), name


def test_no_pickle_is_read_from_users() -> None:
    users = {
        str(source.relative_to(ROOT))
        for source in sources()
        if imported(source) & {"pickle", "cloudpickle", "dill", "joblib"}
    }
    assert users == set()


def rooms() -> list[Path]:
    """Folders of the packages; the packages themselves apart."""
    return sorted(
        {source.parent for source in sources()} - {ROOT / "orchestrator", ROOT / "prvr_model"}
    )


def imports_from_other_rooms() -> Iterator[tuple[Path, str]]:
    """Room and module name of each import of one room's module by a file outside of it."""
    known = set(rooms())
    for source in sources():
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for alias in node.names:
                path = ROOT.joinpath(*node.module.split("."))
                module = path / alias.name if path.is_dir() else path
                if module.parent in known and not source.is_relative_to(module.parent):
                    yield module.parent, module.name


def test_a_room_says_what_it_offers_and_others_use_nothing_else() -> None:
    undeclared = {
        f"{room.relative_to(ROOT)}: {module}"
        for room, module in imports_from_other_rooms()
        if f"`{module}`" not in (room / "__init__.py").read_text()
    }
    assert undeclared == set()


def test_no_private_name_crosses_a_module() -> None:
    crossing = {
        f"{source.relative_to(ROOT)}: {alias.name}"
        for source in sources()
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS)
        for alias in node.names
        if alias.name.startswith("_")
    }
    assert crossing == set()

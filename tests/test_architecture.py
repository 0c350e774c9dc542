"""Each heavy tool is imported in its named home only; the layers are import-linter's."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.locations import ROOT

HOMES = {
    "torch": ("prvr_model/*.py", "prvr_model/losses/*.py"),
    "ray": (
        "orchestrator/tune_executor.py",
        "orchestrator/own_ray.py",
        "orchestrator/job_server.py",
        "orchestrator/ddp_host.py",
        "orchestrator/free_slots.py",
        "orchestrator/ddp_group.py",
        "orchestrator/node_watch.py",
        "orchestrator/placement_groups.py",
        "orchestrator/ray_cluster.py",
        "orchestrator/ray_validation.py",
        "orchestrator/ray_environment.py",
        "orchestrator/ray_nodes.py",
        "orchestrator/sent_store.py",
    ),
    "botocore": ("orchestrator/cluster_keys.py",),
    "optuna": (
        "orchestrator/study.py",
        "orchestrator/study_faults.py",
        "orchestrator/study_storage.py",
        "orchestrator/searcher.py",
        "orchestrator/early_stopping.py",
        "orchestrator/importance_evaluator.py",
    ),
    "matplotlib": ("orchestrator/report/drawing.py",),
    "mlflow": (
        "orchestrator/mlflow_writer.py",
        "orchestrator/registry.py",
        "orchestrator/model_packaging.py",
        "orchestrator/registered_model.py",
    ),
    "click": ("orchestrator/cli.py", "orchestrator/commands/*.py"),
    "h5py": ("prvr_model/importers/*.py",),
    "pyarrow": (
        "prvr_model/feature_store.py",
        "prvr_model/store_*.py",
        "prvr_model/storage.py",
        "prvr_model/importers/*.py",
    ),
}


def sources() -> list[Path]:
    return sorted([*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("prvr_model/**/*.py")])


def imported(source: Path) -> Iterator[str]:
    """Top-level packages that a file imports, anywhere in it; imports for type checkers apart."""
    tree = ast.parse(source.read_text())
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
    homes = {path for pattern in HOMES[tool] for path in ROOT.glob(pattern)}
    users = {source for source in sources() if tool in set(imported(source))}
    assert users, f"nobody imports {tool}"
    assert {str(path.relative_to(ROOT)) for path in users - homes} == set()


def test_no_pickle_is_read_from_users() -> None:
    users = {
        str(source.relative_to(ROOT))
        for source in sources()
        if set(imported(source)) & {"pickle", "cloudpickle", "dill", "joblib"}
    }
    assert users == set()

"""Every module and file that is named by a string exists, and is what its user takes it for."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.base import our_code
from tests.locations import ROOT

MODULES = [our_code.COMMAND_LINE, our_code.ATTACHED_PROCESS, our_code.DEVICES, our_code.PROBE]


def source_of(module: str) -> Path:
    found = importlib.util.find_spec(module)
    assert found is not None, f"there is no module {module}"
    assert found.origin is not None
    return Path(found.origin)


def test_the_root_holds_the_packages() -> None:
    for package in our_code.PACKAGES:
        assert (our_code.ROOT / package / "__init__.py").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_run_does_something_when_run(module: str) -> None:
    assert 'if __name__ == "__main__":' in source_of(module).read_text()


def test_the_python_api_is_there() -> None:
    assert "def launch(" in source_of(our_code.PYTHON_API).read_text()


def test_the_trial_function_is_there() -> None:
    module, _, function = our_code.TRAIN_TRIAL.partition(":")
    tree = ast.parse(source_of(module).read_text())
    assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_the_script_of_registered_versions_is_there() -> None:
    for script in (our_code.SERVED_MODEL, our_code.GALLERY_MODEL):
        assert "set_model(" in script.read_text()


def test_no_other_place_names_a_module_by_a_string_or_a_path_of_its_own() -> None:
    named = re.compile(r"""["'](orchestrator|prvr_model)\.[\w.]+[:"']|__file__""")
    found = {
        str(source.relative_to(ROOT))
        for package in our_code.PACKAGES
        for source in (ROOT / package).rglob("*.py")
        if named.search(source.read_text())
    }
    # The guard is started as a file, by itself: its own path cannot go out of date.
    assert found == {"orchestrator/base/our_code.py", "orchestrator/executors/process_guard.py"}


def test_the_folder_of_packages_hides_no_module_of_pythons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Packages of old Pythons are named like what is built in today.
    (tmp_path / "statistics.py").write_text("raise SystemExit('foreign')")
    monkeypatch.setattr(our_code, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    shown = subprocess.run(
        [*our_code.module_command("statistics")],
        env=our_code.environment_with_our_code(),
        cwd=tmp_path,
        check=False,
    )
    assert shown.returncode == 0


def test_what_is_run_with_it_is_this_code(tmp_path: Path) -> None:
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "__init__.py").write_text("")
    environment = our_code.environment_with_our_code({"PYTHONPATH": str(tmp_path)})
    shown = subprocess.run(
        [sys.executable, "-P", "-c", "import orchestrator; print(orchestrator.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == str(ROOT / "orchestrator" / "__init__.py")

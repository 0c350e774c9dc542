"""Where the project's code lies, and the modules of it that other processes run by name.

Every module that is started by name or path is listed here, so that moving one without its entry
fails a test (`tests/orchestrator/base/test_our_code.py`) and not a sweep.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ("orchestrator", "prvr_model")
# The folder that holds the packages: a checkout, site-packages, or what Ray unpacked on a node.
ROOT = Path(__file__).resolve().parents[2]

# Run by `python -m`.
COMMAND_LINE = "orchestrator.cli"
ATTACHED_PROCESS = "orchestrator.cluster.attached_process"
DEVICES = "prvr_model.training.devices"
PROBE = "prvr_model.training.probe"

# Behind `import orchestrator`; loaded at first use.
PYTHON_API = "orchestrator.joint.handle"
GALLERY_API = "orchestrator.serving.gallery"
MODELS_API = "orchestrator.serving.models"

# Loaded in the process that trains: MODULE:FUNCTION.
TRAIN_TRIAL = "orchestrator.executors.trial_runner:train_trial"

# Copied into each registered version.
SERVED_MODEL = ROOT / "orchestrator" / "tracking" / "served_model.py"
# Copied into a version to which a gallery is attached.
GALLERY_MODEL = ROOT / "orchestrator" / "serving" / "gallery_model.py"

# Pages of the service.
SERVICE_PAGES = ROOT / "orchestrator" / "serving" / "page"


def module_command(module: str) -> list[str]:
    """Command line of a module in a process of its own, for `environment_with_our_code`."""
    # -P: modules of the working directory must not stand in for installed ones.
    return [sys.executable, "-P", "-m", module]


def environment_with_our_code(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which processes import what this one imports."""
    return {**environment, "PYTHONPATH": import_path()}


def import_path() -> str:
    """PYTHONPATH of processes that import what this one imports, in the same order.

    Not this code's folder first: the folder of all installed packages may hold one that is named
    like a module of Python's own.
    """
    found = [str(Path(place).absolute()) for place in sys.path if Path(place).exists()]
    return os.pathsep.join([*found, *([] if str(ROOT) in found else [str(ROOT)])])

"""Where the project's code lies, and the modules of it that other processes run by name.

Every module that is started by name or path is listed here, so that moving one without its entry
fails a test (`tests/orchestrator/base/test_our_code.py`) and not a sweep.
"""

import os
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
PYTHON_API = "orchestrator.sweep.handle"

# Loaded in the process that trains: MODULE:FUNCTION.
TRAIN_TRIAL = "orchestrator.executors.trial_runner:train_trial"

# Copied into each registered version.
SERVED_MODEL = ROOT / "orchestrator" / "tracking" / "served_model.py"


def environment_with_our_code(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which `python -m` runs this code, whatever the working directory holds."""
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}

"""What every test shares: tensor shapes checked at run time, hypothesis without real seconds."""

import atexit
import os
import shutil
import signal
import tempfile

import jaxtyping
import pytest
from hypothesis import settings

# Whoever is started in the background by a shell ignores Ctrl-C, which tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Sweeps of other tests, or of anybody on this machine, must not change what a test plans with.
_HOLDINGS = tempfile.mkdtemp(prefix="prvr-holdings-")
os.environ["PRVR_HOLDINGS"] = _HOLDINGS
atexit.register(shutil.rmtree, _HOLDINGS, ignore_errors=True)

pytest_plugins = ["tests.time_limit"]

# Modules whose functions take tensors or arrays: under pytest, and only there, each call is
# checked against its annotations.
TENSOR_MODULES = (
    "inputs.batching",
    "inputs.prepared_split",
    "inputs.preparation",
    "inputs.resampling",
    "inputs.token_merging",
    "losses.cbva",
    "losses.infonce",
    "losses.objective",
    "losses.tcpl",
    "losses.triplet",
    "network.attention",
    "network.dropout",
    "network.encoders",
    "network.model",
    "network.encoding",
    "network.similarity",
    "retrieval.collapse",
    "retrieval.evaluation",
    "retrieval.metrics",
    "training.step_numbers",
)
jaxtyping.install_import_hook(
    [f"prvr_model.{name}" for name in TENSOR_MODULES], "beartype.beartype"
)

# The machines are shared: no example fails for its seconds, and each run tries the same ones.
settings.register_profile("prvr", deadline=None, derandomize=True)
settings.load_profile("prvr")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Ray or servers come first, so that no long one begins when all else ends."""
    slow = {item.path for item in items if item.get_closest_marker("integration")}
    items.sort(key=lambda item: item.path not in slow)

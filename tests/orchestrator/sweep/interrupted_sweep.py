"""A sweep of slow trials on Ray Tune, for the test that interrupts it: HOME as the argument."""

import sys
from pathlib import Path

from orchestrator.sweep.progress import LogProgress
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec

if __name__ == "__main__":
    result = run_sweep(
        small_spec(),
        Path("/store"),
        FINGERPRINT,
        Path(sys.argv[1]),
        progress=LogProgress(sys.stderr),
        function="tests.orchestrator.executors.fake_trials:slow",
    )
    sys.exit(130 if result.interrupted else 0)

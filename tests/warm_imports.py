"""What a sweep in one process imports; imported once by the server of `warm_process`."""

from orchestrator.tracking.store import settle_mlflow

# MLflow reads its settings when it is imported.
settle_mlflow()

import tests.killed_sweep  # noqa: E402, F401

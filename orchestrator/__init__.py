"""prvr-sweep: tunes, ablates and keeps models for partially relevant video retrieval.

The Python API; what it offers is imported when it is used, so that `import orchestrator` loads
neither torch nor Ray nor MLflow:

* `launch(space)` runs a sweep to its end, `resume(name)` runs what is left of one;
* `open_sweep(name)` opens one: `.trials()` and `.epochs()` are `pyarrow.Table`, `.report()` is the
  report as text, `.best` the winner.

The rooms below, from top to bottom: `commands` (one command of the command line a file), `sweep`
(runs a sweep), `report` (what came out), `preflight` (will it run, what will it cost), `executors`
(run trials), `tracking` (MLflow), `cluster` (which machines there are), `study` (Optuna), `spec`
(the YAML file), `statistics` (which differences are real), `base` (errors, words, this machine).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.base.our_code import PYTHON_API

if TYPE_CHECKING:
    from orchestrator.sweep.handle import Sweep, launch, open_sweep, resume

__all__ = ["Sweep", "launch", "open_sweep", "resume"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        return getattr(import_module(PYTHON_API), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

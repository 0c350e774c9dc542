"""prvr-sweep: tunes, ablates and keeps models for partially relevant video retrieval.

The Python API; what it offers is imported when it is used, so that `import orchestrator` loads
neither torch nor Ray nor MLflow:

* `launch(space)` runs a sweep to its end, `resume(name)` runs what is left of one;
* `load_champion(name)` loads a registered model's champion; `Gallery.open(path)` opens a gallery,
  whose `.query("somebody opens the fridge", top=10)` gives ranked videos with seconds;
* `open_sweep(name)` opens one: `.trials()` and `.epochs()` are `pyarrow.Table`, `.report()` is the
  report as text, `.best` the winner; of several data sets `.parts` are their sweeps by name, and
  `.report()` is the one over all.

The rooms below, from top to bottom: `commands` (one command of the command line a file), `joint` (a
sweep for each of several data sets), `evaluation` (models on stores), `serving` (galleries and
queries), `sweep` (runs a sweep), `report` (what came out), `preflight` (will it run, what will it
cost), `executors` (run trials), `tracking` (MLflow), `cluster` (which machines there are), `study`
(Optuna), `spec` (the YAML file), `statistics` (which differences are real), `base` (errors, words,
this machine).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.base.our_code import GALLERY_API, MODELS_API, PYTHON_API

if TYPE_CHECKING:
    from orchestrator.joint.handle import Sweeps, launch, open_sweep, resume
    from orchestrator.serving.gallery import Gallery
    from orchestrator.serving.models import load_champion
    from orchestrator.sweep.handle import Sweep

__all__ = ["Gallery", "Sweep", "Sweeps", "launch", "load_champion", "open_sweep", "resume"]

_MODULES = {"Gallery": GALLERY_API, "load_champion": MODELS_API}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, PYTHON_API)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

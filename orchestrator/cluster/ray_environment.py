"""Environment variables for Ray, and blocks in which Ray prints nothing and takes no signals.

The same for a Ray of our own and for a running cluster.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

from orchestrator.base.errors import RayChangedError

try:
    from ray._private import utils, worker
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
except ImportError as error:
    raise RayChangedError(str(error)) from error

_log = logging.getLogger(__name__)

# A trial that is told to stop may be writing its checkpoint to a slow storage.
_CLEAN_UP_S = 600


def ray_variables(threads: int) -> dict[str, str]:
    """Environment of a sweep's processes, and of this one while they run."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
        # By default a trial's process starts only after the previous one has, seconds later. The
        # executor limits their number.
        "TUNE_MAX_PENDING_TRIALS_PG": str(10**6),
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": str(_CLEAN_UP_S),
        # It would be one more process for each trial; `watch_this_node` does its work.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        # A process group whose worker failed need not shut down cleanly.
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
        # Each trial is a thread of its actor, and by default each thread has a heap of its own with
        # holes: an actor's memory doubled over seven trials.
        "MALLOC_ARENA_MAX": "1",
        # Sums are split by thread: results repeat only if the number of threads is fixed.
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables while the block runs; Ray reads them again."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _reread_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread_environment()


def _reread_environment() -> None:
    # Ray reads mode and token once, when it is imported; its own start does the same as this.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Ray while the block runs.

    Tune would log each failed trial and how to restore the experiment; we report both ourselves.
    Ray would print events of its processes on stdout, which is for the result.
    """
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with replaced(worker, "print_to_stdstream", _to_log):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _to_log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    _log.info("%s: %s", data["pid"], " ".join(data["lines"]))


def own_signals() -> AbstractContextManager[None]:
    """Keep Ray from handling SIGTERM: it would exit in a way that its own code can swallow."""
    return replaced(utils, "set_sigterm_handler", lambda _: None)


@contextmanager
def replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Replace a value in a module of Ray while the block runs."""
    if not hasattr(module, name):
        raise RayChangedError(f"{module.__name__}.{name}")
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)

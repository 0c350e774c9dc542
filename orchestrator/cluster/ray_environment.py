"""What Ray takes over from this process's environment, and what it may print: decided here.

Hundreds of variables redirect Ray: where it listens, what its processes run, where they log. A Ray
of our own belongs to one sweep and takes over none of a user's, but for those that say what this
machine bears. On a running cluster they are how the user reaches it, and stay.
"""

import gc
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from orchestrator.base.collector import collector_off
from orchestrator.base.errors import RayChangedError, RayFailedError
from orchestrator.base.our_code import import_path
from orchestrator.base.text import error_line

if TYPE_CHECKING:
    from ray.job_config import JobConfig

_log = logging.getLogger(__name__)

# A trial that is told to stop may be writing its checkpoint to a slow storage.
_CLEAN_UP_S = 600

# What Ray reads, and of it what a user knows better than we do: how full the memory may be, and how
# long a slow machine takes to start a process.
_OF_RAY = ("RAY_", "__RAY_", "TUNE_")
_OF_THE_MACHINE = (
    "RAY_memory_",
    "RAY_gcs_server_port_wait_time_s",
    "RAY_raylet_start_wait_time_s",
    "RAY_worker_niceness",
    "RAY_worker_register_timeout_seconds",
)
_NUMBER = re.compile(r"\d+(\.\d+)?")
# Trials run beside each other: threads that are bound to CPUs would all be bound to the same ones.
# And other numbers of threads than the settings say would change numbers.
_OF_THREADS = (
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_DEVICE_THREAD_LIMIT",
    "KMP_HW_SUBSET",
    "KMP_TEAMS_THREAD_LIMIT",
    "MKL_DOMAIN_NUM_THREADS",
    "MKL_DYNAMIC",
    "OMP_DYNAMIC",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_THREAD_LIMIT",
)
# Ray starts its workers by `bash -c`, which runs this file first.
_OF_SHELLS = ("BASH_ENV",)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


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


def own_ray_variables(threads: int) -> dict[str, str | None]:
    """Environment of a Ray of our own; None: hidden from it.

    Args:
        threads: Threads of a worker's numerical libraries.

    Raises:
        RayFailedError: A variable that it would take over is no number, which ends a process.
    """
    for name, value in os.environ.items():
        if name.startswith(_OF_THE_MACHINE) and not _NUMBER.fullmatch(value):
            raise RayFailedError(f"Ray does not start: found {name}={value!r}; allowed: a number")
    hidden = [*_of_ray(), *_OF_THREADS, *_OF_SHELLS]
    # Workers import what this process imports.
    return {**dict.fromkeys(hidden), **ray_variables(threads), "PYTHONPATH": import_path()}


def direct_variables() -> dict[str, str]:
    """Environment in which this machine is reached without a proxy, e.g. the end of a tunnel."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    # With anything beside it, the star for "all" is one more name.
    direct = known if known == "*" else ",".join([*filter(None, [known]), *_LOOPBACK])
    return {"no_proxy": direct, "NO_PROXY": direct}


def _of_ray() -> list[str]:
    """Names of a user's variables for Ray, but for those that say what the machine bears."""
    names = [name for name in os.environ if name.startswith(_OF_RAY)]
    return [name for name in names if not name.startswith(_OF_THE_MACHINE)]


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """These variables for as long as the block runs, None: unset; Ray reads them again."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "ray._raylet" in sys.modules:
        # Ray reads mode and token once, when it is imported; its own start does the same as this.
        raylet = _of_ray_itself("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def loading_ray() -> Iterator[None]:
    """Around the import of modules that import Ray; what it reads then is ours to say as well.

    Raises:
        RayFailedError: Ray cannot be imported.
    """
    hidden: dict[str, str | None] = dict.fromkeys(_of_ray())
    try:
        with environment(hidden):
            yield
    except RayChangedError:
        raise
    except Exception as error:
        raise RayFailedError(f"Ray cannot be loaded: {error_line(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Ray while the block runs.

    Ray prints what happens to its processes on stdout, which is for the result: until the block
    ends it is stderr, for Ray's processes and for code that is not Python's as well.
    """
    loggers = [
        logging.getLogger(name)
        for name in ("ray", "ray.tune", "ray.train", "ray.data", "ray.serve")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    worker = _of_ray_itself("ray._private.worker")
    try:
        with replaced(worker, "print_to_stdstream", _to_log), _stdout_on_stderr():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _to_log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    _log.info("%s: %s", data["pid"], " ".join(data["lines"]))


@contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def own_start() -> Iterator[None]:
    """What Ray's start does of its own accord and must not.

    It takes SIGTERM over with an exit that Ray's own code can swallow. Where this process was
    started by `uv run`, it packs the working directory and has each worker make an environment
    of its own from it. And it starts, and waits for, processes that a sweep on this machine does
    not ask: a dashboard's server, a scaler of clusters and a reader of logs.
    """
    utils = _of_ray_itself("ray._private.utils")
    constants = _of_ray_itself("ray._private.ray_constants")
    node = _of_ray_itself("ray._private.node").Node
    with (
        replaced(utils, "set_sigterm_handler", lambda _: None),
        replaced(constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", False),
        replaced(node, "start_api_server", _start_nothing),
        replaced(node, "start_monitor", _start_nothing),
        replaced(node, "start_log_monitor", _start_nothing),
    ):
        yield


def _start_nothing(node: object, **options: object) -> None:
    """In place of what starts a process of a Ray node."""


def leave_ray() -> None:
    """Disconnect this process from Ray, and end a Ray of its own.

    A reference that is dropped while Ray's library goes down ends the process at once, with code 1
    or a crash. Those in cycles are dropped before; then no thread collects any until it is down.
    """
    ray = _of_ray_itself("ray")
    gc.collect()
    with collector_off():
        ray.shutdown()


def job_on_our_path() -> "JobConfig":
    """A job whose workers import nothing from this process's working directory.

    Ray puts it first on their path, before Python's own modules and ours.
    """
    config = _of_ray_itself("ray.job_config").JobConfig()
    # It leaves the path alone where the workers have a directory of their own.
    asked = "_runtime_env_has_working_dir"
    if not hasattr(config, asked):
        raise RayChangedError(f"JobConfig.{asked}")
    setattr(config, asked, lambda: True)
    return config


def _of_ray_itself(name: str) -> Any:  # noqa: ANN401
    """A module of Ray; this one must be imported before Ray is, whose import it prepares."""
    try:
        return import_module(name)
    except ImportError as error:
        raise RayChangedError(str(error)) from error


@contextmanager
def replaced(place: "ModuleType | type", name: str, value: object) -> Iterator[None]:
    """Another value in a module or class of Ray for as long as the block runs."""
    if not hasattr(place, name):
        raise RayChangedError(f"{place.__name__}.{name}")
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)

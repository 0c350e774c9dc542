"""A Ray of our own on this machine, for as long as one sweep runs.

It listens on loopback and asks for a token; its files are in a short-lived folder, and what it
would print is turned off.
"""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ray

from orchestrator.capacity import DRIVER_RESOURCE
from orchestrator.errors import RayChangedError
from orchestrator.executor import Interruption
from orchestrator.process_guard import ProcessGuard
from orchestrator.provenance import available_cpus, hardware

try:
    from ray._private import services, utils, worker
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
except ImportError as error:
    raise RayChangedError(str(error)) from error

_log = logging.getLogger(__name__)

# Ray's smallest: rows and requests are a few kilobytes, and features come from the page cache.
_OBJECT_STORE_BYTES = 80 * 2**20
# A trial that is told to stop may be writing its checkpoint to a slow storage.
_CLEAN_UP_S = 600


@contextmanager
def own_ray(threads: int, interruption: Interruption) -> Iterator[Path]:
    """A Ray of our own for as long as the block runs; gives its scratch folder.

    Its socket paths must be shorter than 108 letters, hence /tmp whatever TMPDIR says.
    """
    scratch = Path(tempfile.mkdtemp(prefix="prvr-", dir="/tmp"))
    guard = ProcessGuard(scratch)
    has_started = False
    with _environment(_variables(threads)), _quiet(), _loopback(), _own_signals():
        try:
            _start_interruptibly(scratch, interruption)
            has_started = True
            yield scratch
        finally:
            ray.shutdown()
            # Of a start that was broken off nothing is worth waiting for.
            guard.finish(at_once=not has_started)


def _start_interruptibly(scratch: Path, interruption: Interruption) -> None:
    with interruption.at_once():
        _start_ray(scratch)
    interruption.listen_again()
    # Ray's start may have swallowed the wish.
    interruption.check()


def _start_ray(scratch: Path) -> None:
    ray.init(
        address="local",
        num_cpus=available_cpus(),
        num_gpus=len(hardware()["gpus"]),
        resources={DRIVER_RESOURCE: 1},
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(scratch / "ray"),
    )


def _variables(threads: int) -> dict[str, str]:
    """Environment of Ray's processes, and of this one while they run."""
    return {
        # Ray runs whatever it is sent, and other users of this machine reach 127.0.0.1 as well.
        # A token of our own keeps them out; by default Ray would write one to the user's home.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
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
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": str(_CLEAN_UP_S),
        # Nobody drains a node here, and the watcher is one more process for each trial.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        # A process group whose worker failed need not end in good order.
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
        # Each trial is a thread of its actor, and by default each thread a heap with holes of its
        # own: an actor's memory doubled over seven trials.
        "MALLOC_ARENA_MAX": "1",
        # Sums are split by thread: numbers repeat only where these are fixed.
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
    """Tune logs each failed trial and how to restore the experiment; both are ours to say.

    Ray prints what happens to its processes on stdout, which is for the result.
    """
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.data")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with _replaced(worker, "print_to_stdstream", _to_log):
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _to_log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    _log.info("%s: %s", data["pid"], " ".join(data["lines"]))


def _loopback() -> AbstractContextManager[None]:
    """Ray takes 127.0.0.1 for a mistake and listens on the network instead."""
    return _replaced(services, "resolve_ip_for_localhost", str)


def _own_signals() -> AbstractContextManager[None]:
    """Ray's start takes SIGTERM over with an exit that Ray's own code can swallow."""
    return _replaced(utils, "set_sigterm_handler", lambda _: None)


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Another value in a module of Ray for as long as the block runs."""
    if not hasattr(module, name):
        raise RayChangedError(f"{module.__name__}.{name}")
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)

"""Trials on Ray Tune: one-worker trials in reused actors of a Ray that this process starts.

Tune hands out processes and carries rows; it decides nothing. Its searcher and scheduler here only
ask the source, its own state is scratch, and what it would print is turned off.
"""

import json
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.capacity import MemoryNeed, Node, TrialNeeds
from orchestrator.errors import RayChangedError
from orchestrator.executor import Interruption, TrialSource
from orchestrator.process_guard import ProcessGuard
from orchestrator.provenance import available_cpus, hardware
from orchestrator.refusal import pack_or_refuse
from orchestrator.trial import FailureCause
from orchestrator.trial_runner import (
    TRAIN,
    failure_cause,
    load_trial_function,
    report_from_json,
    report_to_json,
    request_from_json,
    request_to_json,
)
from prvr_model.reporting import Decision, EpochReport

try:
    from ray._private import services, utils, worker
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
except ImportError as error:
    raise RayChangedError(str(error)) from error

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Ray's smallest: rows and requests are a few kilobytes, and features come from the page cache.
_OBJECT_STORE_BYTES = 80 * 2**20
# A trial that is told to stop may be writing its checkpoint to a slow storage.
_CLEAN_UP_S = 600


class TuneExecutor:
    """Runs trials in worker processes on this machine.

    Args:
        cpus: CPUs of a trial.
        gpus: GPUs of a trial; a fraction lets trials share one.
        threads: Threads of a trial's numerical libraries.
        function: Trial function by name; workers import it.
        memory: Memory of a trial; None: not known.

    Raises:
        SpecError: Not one trial fits on this machine.
    """

    def __init__(
        self,
        cpus: int,
        gpus: float,
        threads: int,
        function: str = TRAIN,
        memory: MemoryNeed | None = None,
    ) -> None:
        self._cpus = cpus
        self._gpus = gpus
        self._threads = threads
        self._function = function
        self._room = pack_or_refuse(TrialNeeds(1, cpus, gpus, memory), [Node.here()]).trials

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Run all trials, see `Executor.run`."""
        bridge = _Bridge(source, min(concurrency or self._room, self._room), interruption)
        with _own_ray(self._threads, interruption) as scratch:
            try:
                self._fit(bridge, scratch)
            except _SourceBrokenError:
                assert bridge.error is not None
                raise bridge.error from None
        interruption.check()

    def _fit(self, bridge: "_Bridge", scratch: Path) -> None:
        trainable = tune.with_resources(
            _trainable(self._function), {"cpu": self._cpus, "gpu": self._gpus}
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(bridge),
                scheduler=_Scheduler(bridge),
                num_samples=-1,  # the searcher says when it is enough
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch / "tune"),
                verbose=0,
                callbacks=[_Watcher(bridge)],
            ),
        )
        tuner.fit()


class _SourceBrokenError(BaseException):
    """Leaves Tune, which would take an Exception for a trial's; the error is in the bridge."""


class _TrialFailedError(Exception):
    """An error of a trial as JSON of its cause: many errors do not survive pickling."""


class _Bridge:
    """The source as Tune's parts see it; all of them are called by one thread."""

    def __init__(self, source: TrialSource, room: int, interruption: Interruption) -> None:
        self._source = source
        self._room = room
        self._interruption = interruption
        self._live: dict[str, int] = {}
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Tune pickles its parts into its scratch folder; what the source holds stays out of it."""
        return object, ()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configuration of a new Tune trial; None: wait; FINISHED: there is no more."""
        if len(self._live) >= self._room:
            return None
        request = self._guard(self._source.next_trial)
        if request is None:
            return str(Searcher.FINISHED)
        self._live[trial_id] = request.number
        return {"number": request.number, "request": request_to_json(request)}

    def report(self, trial_id: str, report: EpochReport) -> Decision:
        number = self._live[trial_id]
        return self._guard(lambda: self._source.on_report(number, report))

    def end(self, trial_id: str) -> None:
        number = self._live.pop(trial_id, None)
        if number is not None:
            self._guard(lambda: self._source.on_end(number))

    def fail(self, trial_id: str, cause: FailureCause) -> None:
        number = self._live.pop(trial_id, None)
        if number is not None:
            self._guard(lambda: self._source.on_failure(number, cause))

    def check(self) -> None:
        """Leave Tune if the user wants it."""
        self._interruption.check()

    def _guard(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except Exception as error:
            self.error = error
            raise _SourceBrokenError from error


class _Searcher(Searcher):  # type: ignore[misc]
    """Asks the source for trials and tells it of those that ended."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._bridge.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error:  # else `_Watcher` tells it, with the cause
            self._bridge.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes rows to the source and its decision to Tune."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        decision = self._bridge.report(trial.trial_id, report_from_json(result["row"]))
        stop = decision is Decision.STOP
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class _Watcher(TrialProgressCallback):  # type: ignore[misc]
    """Hears of failures with their cause, and looks for Ctrl-C at every step.

    It takes the place of Tune's own reporter, which prints whatever it is told.
    """

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self._bridge.check()

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        self._bridge.fail(trial.trial_id, _cause(trial))

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Nothing: progress is shown by the source."""

    def _print(self, msg: str) -> None:
        """Nothing, see `log_result`."""


def _cause(trial: Trial) -> FailureCause:
    """Cause that the trial sent, or what Ray knows where its process is gone."""
    path = trial.pickled_error_file  # Tune's own file, in our scratch folder
    if path is None or not Path(path).exists():
        return FailureCause("UnknownError", "Ray knows no cause; see its logs", "")
    error = ray.cloudpickle.loads(Path(path).read_bytes())
    cause = getattr(error, "cause", None)
    if isinstance(cause, _TrialFailedError):
        return FailureCause(**json.loads(cause.args[0]))
    return failure_cause(error)


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']}"


def _trainable(function: str) -> Callable[[Mapping[str, Any]], None]:
    """A Tune function that runs the trial function of this name."""

    def run(config: Mapping[str, Any]) -> None:
        request = request_from_json(config["request"])
        try:
            load_trial_function(function)(request, _report)
        except Exception as error:  # noqa: BLE001 - goes to the source with its cause
            raise _TrialFailedError(json.dumps(asdict(failure_cause(error)))) from None

    return run


def _report(report: EpochReport) -> Decision:
    # To stop, Ray raises SystemExit in here.
    tune.report({"row": report_to_json(report)})
    return Decision.CONTINUE


@contextmanager
def _own_ray(threads: int, interruption: Interruption) -> Iterator[Path]:
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

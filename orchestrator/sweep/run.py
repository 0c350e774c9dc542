"""Runs the trials of a sweep: study, searcher, driver and executor put together."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import LocationError, NothingStartsError, RayFailedError
from orchestrator.base.installation import code_version, package_versions
from orchestrator.base.machine import hardware, user_name
from orchestrator.base.stopwatch import importing, phase
from orchestrator.cluster.capacity import RunningCluster
from orchestrator.cluster.ray_environment import loading_ray
from orchestrator.executors.executor import Executor
from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.preflight.estimate import sweep_memory
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import Confirmed, confirmed_trials, crowned
from orchestrator.study.earlier_trials import (
    EARLIER,
    EarlierTrial,
    earlier_trials,
    frozen_trials,
)
from orchestrator.study.front import Front
from orchestrator.study.goals import GOALS, Goals
from orchestrator.study.money import Cost, cost_of
from orchestrator.study.pruners import build_pruner, pruner_arguments
from orchestrator.study.reader import NUM_TRIALS, OVER_BUDGET, Direction, StudyReader
from orchestrator.study.reuse import KnownResults
from orchestrator.study.samplers import build_sampler, sampler_record
from orchestrator.study.searcher import Searcher
from orchestrator.study.storage import ended_trials
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.budget import BudgetGate
from orchestrator.sweep.context import Hooks, SafeSink, SweepContext
from orchestrator.sweep.driver import SweepDriver
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.rounds import Rounds
from orchestrator.sweep.status import this_driver
from orchestrator.sweep.trial_queue import TrialQueue
from orchestrator.sweep.trial_teller import TrialTeller, now_ms
from orchestrator.tracking.events import data_record, sweep_ended_event, sweep_started_event
from orchestrator.tracking.missing_events import Told, missing_events
from orchestrator.tracking.tags import USER_TAG
from prvr_model.settings import Settings

RAY_LOGS = "ray-logs"
"""Folder, in the home's folder of a sweep, of what Ray logged when it failed."""
_WITHOUT_RAY = "with --executor inline they run in this process, without Ray"


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Args:
        sweep: Its name.
        study: URL of the study, without password.
        storage: Where trial folders are.
        counts: Number of trials in each state; those left unfinished count as running.
        best: The best complete trial; after a confirmation, and in an ablation, the best run of
            the configuration whose mean is best; None if no trial is complete.
        confirmed: Configurations that were run again on fresh seeds, the crowned one first.
        direction: Whether larger or smaller values are better.
        interrupted: Whether the user ended it.
        tracking_errors: Errors that the event sink raised.
        cost: What its trials cost; None without prices.
        front: What came of several objectives and limits; None without any.
    """

    sweep: str
    study: str
    storage: str
    counts: Mapping[TrialState, int]
    best: TrialSummary | None
    interrupted: bool
    tracking_errors: tuple[str, ...]
    confirmed: tuple[Confirmed, ...] = ()
    direction: Direction = "maximize"
    cost: Cost | None = None
    front: Front | None = None


def run_trials(context: SweepContext, hooks: Hooks) -> SweepResult:
    """Run a sweep until its trials are done or the user ends it.

    Raises:
        SweepExistsError: A sweep of this name exists, and this one is new.
        SweepNotFoundError: There is no sweep to resume.
        SpecError: A trial needs more resources than there are; the sweep does not begin.
        LocationError: The storage has become unusable; unfinished trials stay unfinished.
    """
    executor = _executor(context)
    context.home.mkdir(parents=True, exist_ok=True)
    sink = SafeSink(hooks.sink, hooks.progress.warn)
    study = _open_study(context)
    data = context.data
    searcher = Searcher(
        study, context.spec, data.store, data.fingerprint, context.storage, _costs(context)
    )
    rounds = Rounds(context, study, searcher, hooks.progress)
    rounds.plan_first()
    tags = _tags(context)
    _tell_tracker(context, study, sink, tags)
    teller = TrialTeller(sink, hooks.progress, tags, context.told or Told())
    driver = _driver(context, study, searcher, rounds, teller)
    rounds.show_size()
    if context.is_resumed:
        hooks.progress.resumed(study.summaries())
    interrupted = _Run(context, study, sink, hooks.progress).until_end(executor, driver)
    best, prices = crowned(study, 1), context.spec.prices
    return SweepResult(
        sweep=context.spec.name,
        study=study.url,
        storage=context.storage,
        counts=study.counts(),
        best=best[0] if best else None,
        interrupted=interrupted,
        tracking_errors=tuple(sink.errors),
        confirmed=confirmed_trials(study),
        direction=study.direction,
        cost=cost_of(prices, context.spec.resources, study) if prices else None,
        front=Front.of(study),
    )


def _executor(context: SweepContext) -> Executor:
    if context.executor == "inline":
        return InlineExecutor(context.trial_function)
    if context.executor == "tune":
        logs = context.home / context.spec.name / RAY_LOGS
        return tune_executor(context.spec, context.trial_function, context.cluster, logs)
    return context.executor


def tune_executor(
    spec: SweepSpec, function: str, cluster: RunningCluster | None, logs: Path | None = None
) -> Executor:
    """Ray Tune for the trials of a spec, on this machine or a cluster; imports Ray.

    Args:
        spec: The spec.
        function: Trial function by name.
        cluster: Where trials run; None: on a Ray of our own.
        logs: Where to keep what Ray logged of its failures; None: nowhere.

    Raises:
        RayFailedError: Ray cannot be imported.
        SpecError: Not even one trial fits.
    """
    # Importing Ray takes more than a second; a sweep in this process does not need it.
    with importing(), loading_ray():
        from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor

    resources = spec.resources
    slot = TrialSlot(
        resources.cpus,
        resources.gpus,
        spec.speed.threads,
        resources.workers,
        resources.min_workers,
        sweep_memory(spec),
        spec.name,
    )
    return TuneExecutor(slot, function, cluster, logs=logs)


def _open_study(context: SweepContext) -> SweepStudy:
    spec = context.spec
    attributes = {**_attributes(context), **context.attributes()}
    pruner = build_pruner(spec.early_stopping)
    if not context.is_resumed:
        earlier = earlier_trials(spec, context.data.fingerprint, context.home)
        if earlier:
            attributes[EARLIER] = [trial.to_json() for trial in earlier]
        sampler = build_sampler(spec, frozen_trials(spec, earlier))
        direction = spec.objective.direction
        return SweepStudy.create(context.url, spec.name, direction, sampler, pruner, attributes)
    kept = StudyReader.open(context.url, spec.name).attributes.get(EARLIER, ())
    earlier = tuple(map(EarlierTrial.of_json, kept))
    sampler = build_sampler(spec, frozen_trials(spec, earlier))
    study = SweepStudy.reopen(context.url, spec.name, sampler, pruner)
    # These describe the driver that runs the sweep now; all others describe its launch and stay.
    for key in ("state", "driver", "places", "code_version", "packages", "hardware"):
        if key in attributes:
            study.set_attribute(key, attributes[key])
    # An older version did not write them.
    for key in {"data_name", "user"} - study.attributes.keys():
        study.set_attribute(key, attributes[key])
    if study.attributes.get(OVER_BUDGET) is not None:
        study.set_attribute(OVER_BUDGET, None)
    study.set_attribute("resumed_ms", [*study.attributes.get("resumed_ms", ()), now_ms()])
    return study


def _attributes(context: SweepContext) -> dict[str, Any]:
    spec = context.spec
    stopping = spec.early_stopping
    return {
        "spec_yaml": spec.dump_yaml(),
        "question": spec.question,
        "metric": spec.objective.metric,
        "protocol": spec.protocol,
        NUM_TRIALS: spec.num_trials,
        **({GOALS: goals.to_json()} if (goals := Goals.of_spec(spec)) else {}),
        "data_name": context.data.name,
        "data_fingerprint": context.data.fingerprint,
        "user": user_name(),
        "started_ms": now_ms(),
        "state": "running",
        "driver": this_driver(),
        "sampler": sampler_record(spec),
        "pruner": {"kind": stopping.method, **pruner_arguments(stopping)},
        "code_version": code_version(),
        "packages": package_versions(),
        "hardware": hardware(),
    }


def _tags(context: SweepContext) -> dict[str, str]:
    """Tags for the tracker."""
    versions = {f"version.{name}": version for name, version in package_versions().items()}
    return {
        **versions,
        "data_fingerprint": context.data.fingerprint,
        "code": code_version(),
        USER_TAG: user_name(),
    }


def _tell_tracker(
    context: SweepContext, study: SweepStudy, sink: SafeSink, tags: Mapping[str, str]
) -> None:
    """Send that the sweep begins, and the events that earlier drivers did not send."""
    spec, told = context.spec, context.told
    data = data_record(spec.data, context.data.name, context.data.fingerprint)
    sink.append(**sweep_started_event(spec, tags, data, now_ms()))
    if told is not None:
        for event in missing_events(study, spec, told, tags):
            told.add(event)
            sink.append(**event)


def _driver(
    context: SweepContext,
    study: SweepStudy,
    searcher: Searcher,
    rounds: Rounds,
    teller: TrialTeller,
) -> SweepDriver:
    spec = context.spec
    queue = TrialQueue(searcher, BudgetGate(spec, study, teller.warn), rounds.plan_next)
    known = _known_results(context, teller.warn) if spec.reuse else None
    return SweepDriver(spec.objective.metric, study, searcher, queue, teller, known)


def _costs(context: SweepContext) -> Callable[[Settings], dict[str, float]]:
    """What a trial's settings alone say of its costs."""
    manifest = context.data.manifest

    def costs(settings: Settings) -> dict[str, float]:
        from prvr_model.retrieval.costs import known_costs

        assert manifest is not None, "a sweep that runs has opened its data"
        return known_costs(settings.model, manifest.video_dim, manifest.text_dim)

    return costs


def _known_results(context: SweepContext, warn: Callable[[str], None]) -> KnownResults:
    spec = context.spec
    trials = ended_trials(context.url)
    metrics = (spec.objective.metric, *Goals.of_spec(spec).costs)
    workers = spec.resources.workers
    return KnownResults(spec.name, context.storage, metrics, trials, warn, workers)


@dataclass(frozen=True)
class _Run:
    """Runs the trials until they are done, interrupted or broken, and records which it was.

    Unfinished trials stay "running" in the study: only in this state does Optuna accept a result
    under their number later. The state of the sweep says that no driver runs them.
    """

    context: SweepContext
    study: SweepStudy
    sink: SafeSink
    progress: Progress

    def until_end(self, executor: Executor, driver: SweepDriver) -> bool:
        """Run the trials; True if the user interrupted them."""
        state = "finished"
        try:
            with (
                phase("first trial's start"),  # until its first epoch, see `timed_sink`
                Interruption().listening() as interruption,
            ):
                executor.run(driver, self.context.spec.concurrency, interruption)
            if driver.broken_storage is not None:
                raise self._broken(driver.broken_storage)
        except KeyboardInterrupt:
            state = "interrupted"
        except BaseException as error:
            # The user must see the error that ended the sweep, not one that follows from it.
            with suppress(Exception):
                driver.on_interruption()
                self._write_end("interrupted")
            if isinstance(error, NothingStartsError):
                raise NothingStartsError(error.limit_s, error.lack, self._resume()) from error
            if isinstance(error, RayFailedError):
                advice = f"unfinished trials continue by `{self._resume()}`; {_WITHOUT_RAY}"
                raise RayFailedError(error.found, advice) from error
            raise
        finally:
            self.progress.close()
        driver.on_interruption()
        self._write_end(state)
        return state == "interrupted"

    def _broken(self, why: str) -> LocationError:
        return LocationError(
            f"the storage of the trials' folders cannot be used: {why}; unfinished trials continue "
            f"from their last checkpoints once it can: `{self._resume()}`"
        )

    def _resume(self) -> str:
        return self.context.locations.command("resume", self.study.name)

    def _write_end(self, state: str) -> None:
        self.study.set_attribute("ended_ms", now_ms())
        self.study.set_attribute("state", state)
        counts = {str(trial_state): number for trial_state, number in self.study.counts().items()}
        self.sink.append(**sweep_ended_event(state, counts, now_ms()))

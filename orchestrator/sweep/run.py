"""A sweep from its spec to its result: study, searcher and executor put together."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.base.errors import LocationError
from orchestrator.base.home import home_option
from orchestrator.base.machine import code_version, hardware, package_versions
from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.base.text import count
from orchestrator.cluster.capacity import RunningCluster
from orchestrator.executors.executor import Executor
from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.preflight.estimate import sweep_memory
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import Confirmed, confirmed_trials, crowned
from orchestrator.study.planned_trials import PlannedTrial
from orchestrator.study.pruners import build_pruner, pruner_arguments
from orchestrator.study.reader import OVER_BUDGET, Direction
from orchestrator.study.reuse import KnownResults
from orchestrator.study.samplers import build_sampler, sampler_record
from orchestrator.study.searcher import Searcher
from orchestrator.study.storage import complete_trials
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.driver import SafeSink, SweepDriver, now_ms
from orchestrator.sweep.progress import Progress, SilentProgress
from orchestrator.sweep.rounds import ReadVideos, missing_runs, next_round
from orchestrator.sweep.status import this_driver
from orchestrator.tracking.events import (
    Told,
    checkpoint_rows,
    missing_events,
    sweep_started_event,
)
from orchestrator.tracking.outbox import EventSink

ExecutorName = Literal["tune", "inline"]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Args:
        sweep: Its name.
        study: URL of the study, without password.
        storage: Where trial folders are.
        counts: Number of trials in each state; those left unfinished count as running.
        best: The best complete trial; after a confirmation, and in an ablation, the best run of
            the configuration whose mean is best; None: there is none.
        confirmed: Configurations that were run again on fresh seeds, the crowned one first.
        direction: Whether larger or smaller values are better.
        interrupted: Whether the user ended it.
        tracking_errors: What the event sink raised; empty: nothing.
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


def run_sweep(
    spec: SweepSpec,
    store: Path | str,
    data_fingerprint: str,
    home: Path,
    storage: str | None = None,
    sink: EventSink | None = None,
    progress: Progress | None = None,
    executor: ExecutorName | Executor = "tune",
    *,
    url: str | None = None,
    function: str = TRAIN_TRIAL,
    tags: Mapping[str, str] | None = None,
    cluster: RunningCluster | None = None,
    attributes: Mapping[str, Any] | None = None,
    told: Told | None = None,
    videos: ReadVideos | None = None,
) -> SweepResult:
    """Run a sweep until its trials are done or the user ends it.

    Args:
        spec: The sweep.
        store: Absolute path of the feature store, or the URI that each machine copies it from.
        data_fingerprint: Fingerprint of the store's content.
        home: Home folder, absolute.
        storage: URI or absolute path for trial folders; None: the home.
        sink: Takes events for the tracker.
        progress: Shows what happens.
        executor: Where trials run: Ray Tune, or one after the other in this process.
        url: Optuna storage; None: SQLite in the home.
        function: Trial function by name.
        tags: Tags for the tracker, beside code version and data fingerprint.
        cluster: Where Ray Tune runs trials; None: on this machine.
        attributes: More to be kept with the study.
        told: What the sink was told by earlier drivers of this sweep, which then goes on; None: it
            is a new one.
        videos: The video of each validation query; only a race asks.

    Raises:
        SweepExistsError: There is a sweep of this name, and it is not to go on.
        SweepNotFoundError: There is none to go on with.
        SpecError: A trial asks for more than there is; the sweep is not started.
        LocationError: The storage cannot be used any more; unfinished trials stay unfinished.
    """
    shown = progress or SilentProgress()
    safe = SafeSink(sink, shown.warn)
    runner = _executor(executor, spec, function, cluster)
    home.mkdir(parents=True, exist_ok=True)
    about = {**_attributes(spec, data_fingerprint), **(attributes or {})}
    study = _open_study(url or study_url(home), spec, about, is_new=told is None)
    place = storage or str(home.resolve())
    searcher = Searcher(study, spec, str(store), data_fingerprint, place)
    searcher.plan(missing_runs(spec, searcher.planned))
    all_tags = {**(tags or {}), "data_fingerprint": data_fingerprint, "code": code_version()}
    _send_start(safe, spec, all_tags)
    if told is not None:
        for one in missing_events(study, spec, told, all_tags, checkpoint_rows):
            told.add(one)
            safe.append(**one)
    maximize = spec.objective.direction == "maximize"

    def begin() -> None:
        shown.begin(searcher.num_wanted, spec.max_epochs, maximize)

    def plan_more() -> bool:
        more = next_round(spec, study, searcher.planned, videos)
        if more:
            searcher.plan(more)
            _say_round(more, shown)
            begin()
        return bool(more)

    known = None
    if spec.reuse:
        there = complete_trials(url or study_url(home))
        metric, workers = spec.objective.metric, spec.resources.workers
        known = KnownResults(spec.name, place, metric, there, shown.warn, workers)
    driver = SweepDriver(
        spec, study, searcher, safe, shown, all_tags, told, checkpoint_rows, plan_more, known
    )
    begin()
    interrupted = _run(runner, driver, spec.concurrency, study, safe, shown, home)
    best = crowned(study, 1)
    return SweepResult(
        sweep=spec.name,
        study=study.url,
        storage=place,
        counts=study.counts(),
        best=best[0] if best else None,
        interrupted=interrupted,
        tracking_errors=tuple(safe.errors),
        confirmed=confirmed_trials(study),
        direction=study.direction,
    )


def _say_round(trials: Sequence[PlannedTrial], progress: Progress) -> None:
    if not trials:
        return
    rows = sorted({one.variant for one in trials if one.variant is not None})
    if rows:
        text = f"undecided after their seeds so far, rows get more: {', '.join(rows)}"
    else:
        best = sorted({one.confirms for one in trials if one.confirms is not None})
        text = f"the best run again on fresh seeds: trials {', '.join(map(str, best))}"
    progress.warn(f"{text} ({count(len(trials), 'trial')})")


def _open_study(
    url: str, spec: SweepSpec, attributes: Mapping[str, Any], *, is_new: bool
) -> SweepStudy:
    sampler, pruner = build_sampler(spec), build_pruner(spec.early_stopping)
    if is_new:
        direction = spec.objective.direction
        return SweepStudy.create(url, spec.name, direction, sampler, pruner, attributes)
    study = SweepStudy.reopen(url, spec.name, sampler, pruner)
    # When it began and with what stays; who runs it now, and that it runs, is new.
    for key in ("state", "driver", "places", "code_version", "packages", "hardware"):
        if key in attributes:
            study.set_attribute(key, attributes[key])
    if study.attributes.get(OVER_BUDGET) is not None:
        study.set_attribute(OVER_BUDGET, None)
    study.set_attribute("resumed_ms", [*study.attributes.get("resumed_ms", ()), now_ms()])
    return study


def _run(
    runner: Executor,
    driver: SweepDriver,
    concurrency: int | None,
    study: SweepStudy,
    sink: SafeSink,
    progress: Progress,
    home: Path,
) -> bool:
    """Run to the end, whatever it is, and write it down; True: interrupted.

    Unfinished trials keep their state in the study: Optuna has one that means "has no result
    yet", and only such a trial can be taken up again under its number. That nobody runs them is
    said once, of the sweep.
    """
    state = "finished"
    try:
        with Interruption().listening() as interruption:
            runner.run(driver, concurrency, interruption)
        if driver.broken_storage is not None:
            raise LocationError(
                f"the storage of the trials' folders cannot be used: {driver.broken_storage}; "
                "unfinished trials go on from their last checkpoints once it can: `prvr-sweep "
                f"resume {study.name}{home_option(home)}`"
            )
    except KeyboardInterrupt:
        state = "interrupted"
    except BaseException:
        # The error that ended the sweep is the one to show, not what follows from it.
        with suppress(Exception):
            _write_end("interrupted", study, sink)
        raise
    finally:
        progress.close()
    _write_end(state, study, sink)
    return state == "interrupted"


def _write_end(state: str, study: SweepStudy, sink: SafeSink) -> None:
    study.set_attribute("ended_ms", now_ms())
    study.set_attribute("state", state)
    counts = {str(one): count for one, count in study.counts().items()}
    sink.append("sweep_ended", state=state, counts=counts, timestamp_ms=now_ms())


def _attributes(spec: SweepSpec, data_fingerprint: str) -> dict[str, Any]:
    stopping = spec.early_stopping
    return {
        "spec_yaml": spec.dump_yaml(),
        "question": spec.question,
        "metric": spec.objective.metric,
        "protocol": spec.protocol,
        "num_trials": spec.num_trials,
        "data_fingerprint": data_fingerprint,
        "started_ms": now_ms(),
        "state": "running",
        "driver": this_driver(),
        "sampler": sampler_record(spec),
        "pruner": {"kind": stopping.method, **pruner_arguments(stopping)},
        "code_version": code_version(),
        "packages": package_versions(),
        "hardware": hardware(),
    }


def _send_start(sink: SafeSink, spec: SweepSpec, tags: Mapping[str, str]) -> None:
    sink.append(**sweep_started_event(spec, tags, now_ms()))


def _executor(
    executor: ExecutorName | Executor,
    spec: SweepSpec,
    function: str,
    cluster: RunningCluster | None,
) -> Executor:
    if executor == "inline":
        return InlineExecutor(function)
    if executor == "tune":
        return tune_executor(spec, function, cluster)
    return executor


def tune_executor(spec: SweepSpec, function: str, cluster: RunningCluster | None) -> Executor:
    """Ray Tune for the trials of a spec, on this machine or a cluster; imports Ray.

    Raises:
        SpecError: Not one trial fits there.
    """
    # Ray takes more than a second to import; a sweep in this process needs none of it.
    from orchestrator.executors.tune_executor import TuneExecutor

    resources = spec.resources
    return TuneExecutor(
        resources.cpus,
        resources.gpus,
        spec.speed.threads,
        function,
        resources.workers,
        sweep_memory(spec),
        cluster=cluster,
        min_workers=resources.min_workers,
    )

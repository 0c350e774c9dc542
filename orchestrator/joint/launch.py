"""Runs the parts of a sweep over several data sets, one after the other.

Each part is launched and resumed as any sweep; what joins them is a record in the home, written
before the first part begins. Whatever dies, `resume` finds there which parts are left.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.base.errors import ResumeError, SpecError, SweepExistsError
from orchestrator.base.stopwatch import phase
from orchestrator.base.text import command
from orchestrator.joint.budget import budget_of, is_spent
from orchestrator.joint.extension import extended
from orchestrator.joint.sweep import JointSweep, naming
from orchestrator.report.joint_publishing import publish_joint
from orchestrator.spec.data import check_labels, open_data
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.joint_record import JointRecord, joint_record, joint_with_part
from orchestrator.study.reader import OVER_BUDGET, StudyReader, begun_study
from orchestrator.sweep.context import ExecutorName
from orchestrator.sweep.launch import LaunchResult, launch
from orchestrator.sweep.locations import SweepLocations, held_home
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.resume import ResumeRequest, resume
from orchestrator.sweep.sync import sync

# As long as the launch of a part waits; where MLflow had a problem then, a look whether it is back.
_FLUSH_S = 60.0
_LOOK_S = 5.0


@dataclass(frozen=True)
class JointHooks:
    """How the user follows a sweep over several data sets.

    Args:
        progress: Makes what shows a part's progress.
        say: Takes a line for the user.
    """

    progress: Callable[[], Progress]
    say: Callable[[str], None]


@dataclass(frozen=True)
class PartResult:
    """How a part ended.

    Args:
        spec: Its sweep.
        locations: Where it keeps things.
        result: How its launch or resume ended.
    """

    spec: SweepSpec
    locations: SweepLocations
    result: LaunchResult


@dataclass(frozen=True)
class JointResult:
    """How a launch or resume of several data sets ended.

    Args:
        joint: The sweep.
        parts: Parts that ran, by data set.
        left: Why a part did not run, by data set.
        report: Path or URI of the joint report; None if it was not made.
        problem: What kept the joint report from MLflow; None if it arrived, or was not made.
        interrupted: Whether the user ended it.
    """

    joint: JointSweep
    parts: Mapping[str, PartResult]
    left: Mapping[str, str]
    report: str | None = None
    problem: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class _Places:
    """Where a part that has not begun is to keep things, and how its trials are to run."""

    locations: SweepLocations
    executor: ExecutorName
    address: str | None


def launch_joint(
    spec: JointSpec,
    locations: SweepLocations,
    hooks: JointHooks,
    executor: ExecutorName = "tune",
    address: str | None = None,
) -> JointResult:
    """Run a new sweep over several data sets.

    Args:
        spec: The sweep.
        locations: Where its parts keep things.
        hooks: How the user follows it.
        executor: Where trials run.
        address: Address of a running Ray cluster; None: start our own Ray for each part.

    Raises:
        SweepExistsError: There is a sweep of its name, or of a part's.
        PrvrError: As `launch` of a part; all data is checked before the first part begins.
    """
    home = locations.home
    _refuse_existing(spec, home)
    places = {**locations.remembered(), "executor": executor, "address": address}
    names = {data: part.name for data, part in spec.parts.items()}
    record = JointRecord(spec.dump_yaml(), names, places)
    with held_home(home, spec.name):
        _check_data(spec, home, hooks.say)
        record.write(home, spec.name)
    joint = JointSweep(home, spec, record)
    return _run(joint, None, _Places(locations, executor, address), hooks)


def resume_joint(request: ResumeRequest, hooks: JointHooks) -> JointResult:
    """Run what is left of every part; parts that have not begun are launched.

    Args:
        request: The sweep and what changes; every part that has begun is extended alike.
        hooks: How the user follows it.

    Raises:
        SweepNotFoundError: The home has no sweep over several data sets of this name.
        ResumeError: A part cannot be extended in this way.
        PrvrError: As `resume` of a part.
    """
    joint = extended(JointSweep.open(request.home, request.sweep), request)
    kept = joint.record.places
    locations = SweepLocations.recalled(kept, request.home, request.storage, request.tracking_uri)
    executor = request.executor or kept["executor"]
    address = None if executor == "inline" else request.address or kept["address"]
    places = _Places(locations, executor, None if address == "local" else address)
    remembered = {**locations.remembered(), "executor": executor, "address": places.address}
    record = replace(joint.record, spec_yaml=joint.spec.dump_yaml(), places=remembered)
    with held_home(joint.home, joint.name):
        record.write(joint.home, joint.name)
    return _run(replace(joint, record=record), request, places, hooks)


def _refuse_existing(spec: JointSpec, home: Path) -> None:
    kept = joint_record(home, spec.name)
    resumed = f"`{command('resume', spec.name, home=home)}`"
    if kept is not None and begun_study(home, next(iter(kept.parts.values()))) is not None:
        same = kept.spec_yaml == spec.dump_yaml()
        advice = "it has the same spec: " if same else "its spec differs; "
        advice += f"continue it as it was by {resumed}, or launch under another name"
        raise SweepExistsError(spec.name, str(home), f"{advice} (--set name=...)")
    if begun_study(home, spec.name) is not None:
        raise SweepExistsError(spec.name, str(home), home=home)
    for data, part in spec.parts.items():
        other = joint_with_part(home, part.name)
        if begun_study(home, part.name) is not None or other not in (None, spec.name):
            whose = f"as a part of {other}" if other else "which is a sweep of its own"
            advice = f"{whose}; it would be the part on {data}: launch under another name"
            raise SweepExistsError(part.name, str(home), f"{advice} (--set name=...)")


def _check_data(spec: JointSpec, home: Path, say: Callable[[str], None]) -> None:
    """Open all data before hours are spent on the first, and refuse a data set that is there twice.

    Raises:
        StoreError: A store is missing, damaged, or lacks splits or labels.
        SpecError: Two names are the same data.
    """
    known: dict[str, str] = {}
    for data, part in spec.parts.items():
        with naming(data):
            store = open_data(part.data, home, say)
            check_labels(part, store)
        fingerprint = store.manifest.fingerprint
        if fingerprint in known:
            raise SpecError(
                [f"data.{data}: has the same content as data.{known[fingerprint]}, which would "
                 "count twice; leave one out"]
            )  # fmt: skip
        known[fingerprint] = data


def _run(
    joint: JointSweep, request: ResumeRequest | None, places: _Places, hooks: JointHooks
) -> JointResult:
    """Run every part, then score transfer and write the joint report."""
    parts: dict[str, PartResult] = {}
    left: dict[str, str] = {}
    for place, data in enumerate(joint.spec.parts):
        study = joint.study(data)
        wanted = joint.part(data)
        if study is None and (why := _why_left(joint, data, wanted)):
            left[data] = why
            hooks.say(f"{joint.spec.parts[data].name} does not begin: {why}")
            continue
        hooks.say(f"data set {place + 1} of {len(joint.spec.parts)}, {data}:")
        if study is not None:
            parts[data] = _resumed(joint, data, study, request, hooks)
        else:
            assert wanted is not None, "why_left names a part that is not known"
            spec = wanted.model_copy(update={"budget": budget_of(joint, data)})
            result = launch(
                spec, places.locations, hooks.progress(), places.executor, places.address
            )
            parts[data] = PartResult(spec, places.locations, result)
        if parts[data].result.sweep.interrupted:
            return JointResult(joint, parts, left, interrupted=True)
    with held_home(joint.home, joint.name):
        if joint.spec.transfer:
            # Imports torch, which takes seconds.
            from orchestrator.joint.transfer import score_transfer

            score_transfer(joint, hooks.say)
        storage = places.locations.storage or str(joint.home.resolve())
        report = publish_joint(joint.home, joint.spec, storage, hooks.say)
    was_there = all(part.result.problem is None for part in parts.values())
    limit_s = _FLUSH_S if was_there else _LOOK_S
    problem = _not_sent(joint, places, limit_s, hooks) if report else None
    return JointResult(joint, parts, left, report, problem)


def _not_sent(joint: JointSweep, places: _Places, limit_s: float, hooks: JointHooks) -> str | None:
    """Send the joint report to the run of every part; what keeps it from MLflow, if anything."""
    again = f"once that is fixed, `{places.locations.command('sync', joint.name)}` sends it"
    uri = places.locations.tracking.uri
    try:
        for data in joint.begun:
            with phase("waiting for MLflow"):
                sent = sync(joint.spec.parts[data].name, joint.home, uri, limit_s, hooks.say)
            if sent.problem or not sent.done:
                return f"{sent.problem or 'time is up'}; {again}"
    except Exception as error:  # noqa: BLE001  (the trials are done and safe; sync sends it again)
        return f"{type(error).__name__}: {error}; {again}"
    return None


def _why_left(joint: JointSweep, data: str, wanted: SweepSpec | None) -> str | None:
    """Why a part that has not begun cannot; None if it can."""
    if wanted is None:
        return f"the search on {next(iter(joint.spec.parts))} has confirmed no configuration"
    if is_spent(joint, data):
        return "the budget is spent on the data sets before it"
    return None


def _resumed(
    joint: JointSweep,
    data: str,
    study: StudyReader,
    request: ResumeRequest | None,
    hooks: JointHooks,
) -> PartResult:
    """Resume a part; it gets the seeds and epochs of the joint sweep where it has fewer."""
    before = read_spec(study.attributes["spec_yaml"], source=f"sweep {study.name}")
    if before.data != joint.spec.parts[data].data:
        raise ResumeError(
            f"sweep {study.name!r} has the name of the part on {data} and other data: it was "
            f"launched by itself; launch {joint.name!r} anew under another name (--set name=...)"
        )
    wanted, seeds = joint.spec.first, None
    if (
        wanted.ablation
        and before.ablation
        and wanted.ablation.num_seeds > before.ablation.num_seeds
    ):
        seeds = wanted.ablation.num_seeds
    longer = wanted.max_epochs > before.max_epochs
    base = request or ResumeRequest(joint.name, joint.home)
    ended = study.attributes.get("state") == "finished" and not study.attributes.get(OVER_BUDGET)
    asked = replace(
        base,
        sweep=study.name,
        trials=None,
        seeds=seeds,
        epochs=wanted.max_epochs if longer else None,
        budget=() if ended and not (seeds or longer) else _budget_changes(joint, data),
    )
    resumed = resume(asked, hooks.progress(), hooks.say)
    return PartResult(resumed.spec, resumed.locations, resumed.result)


def _budget_changes(joint: JointSweep, data: str) -> tuple[str, ...]:
    budget = budget_of(joint, data)
    if budget is None:
        return ()
    limits = budget.model_dump(mode="json").items()
    return tuple(f"{key}={'null' if value is None else value}" for key, value in limits)

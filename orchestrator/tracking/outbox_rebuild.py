"""Makes a lost or incomplete outbox again from the study and the checkpoints."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.base.errors import TrackingError
from orchestrator.base.text import command
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.joint_record import joint_record, joint_with_part
from orchestrator.study.reader import StudyReader
from orchestrator.tracking.events import (
    REPORT_FILES,
    REPORT_NUMBERS,
    Event,
    data_record,
    joint_report_event,
    registered_event,
    report_event,
    sweep_ended_event,
    sweep_started_event,
)
from orchestrator.tracking.missing_events import Told, missing_events
from orchestrator.tracking.outbox import Outbox, OutboxReader, identity_of, set_aside
from orchestrator.tracking.run_change import DataRecord
from orchestrator.tracking.tags import USER_TAG
from prvr_model.files.folder import Folder, StorageError


def whole_outbox(path: Path, study: StudyReader, home: Path, warn: Callable[[str], None]) -> Outbox:
    """A sweep's outbox with all that its driver wrote or would have written.

    Args:
        path: Where the outbox is or was.
        study: The sweep's study.
        home: The sweep's home.
        warn: Takes a line if the outbox had to be made again.

    Raises:
        TrackingError: The outbox is lost or torn, and the study does not know its identity.
    """
    found = identity_of(path)
    if found is None or found != study.attributes.get("outbox_id", found):
        what = "is not that of the sweep" if found else "was torn" if path.exists() else "is lost"
        warn(f"the outbox {path} {what}; it is made again from the study and the checkpoints")
        rebuild_outbox(path, study, home)
        return Outbox(path)
    outbox = Outbox(path)
    # A reader whose position is beyond the end of the file must not skip what is written next.
    for position in _positions(path):
        reader = OutboxReader(outbox, position)
        reader.commit(reader.position)
    for event in _events(study, home, outbox.events()):
        outbox.append(event)
    return outbox


def rebuild_outbox(path: Path, study: StudyReader, home: Path) -> None:
    """Write a sweep's outbox as its driver would have.

    It has the identity of the lost one, by which MLflow knows the sweep's runs. Events of
    unfinished trials are left to `resume`. A file at the path is renamed.

    Args:
        path: Where the outbox was.
        study: The sweep's study.
        home: The sweep's home.

    Raises:
        TrackingError: The study does not know the lost one's identity.
    """
    identity = study.attributes.get("outbox_id")
    if identity is None:
        raise TrackingError(
            f"the outbox of {study.name!r} is not at {path}, and the study does not know its "
            f"identity; put a copy back. The study has the trials: "
            f"`{command('status', study.name, home=home)}`"
        )
    # Positions in the lost file mean nothing in this one.
    for position in _positions(path):
        position.unlink()
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    outbox = Outbox(partial, identity)
    for event in _events(study, home, ()):
        outbox.append(event)
    is_whole, problem = outbox.settle(), outbox.problem
    outbox.close()
    if not is_whole:
        raise TrackingError(f"the outbox cannot be made again: {problem}")
    set_aside(path)
    partial.rename(path)


def _positions(path: Path) -> list[Path]:
    """Files in which readers of an outbox keep their positions."""
    return list(path.parent.glob(f"{path.stem}.*.position"))


def _events(study: StudyReader, home: Path, there: Iterable[Event]) -> Iterator[Event]:
    """Events that a sweep's outbox lacks, in their order.

    Args:
        study: The sweep's study.
        home: The sweep's home.
        there: Events that the outbox has.
    """
    about = study.attributes
    spec = read_spec(about["spec_yaml"], (), f"spec of {study.name}", home)
    tags = _tags(about)
    kinds, told, of_sweep, of_joint = set(), Told(), None, None
    for event in there:
        kinds.add(event.get("kind"))
        told.add(event)
        if event.get("kind") in ("sweep_started", "sweep_ended"):
            of_sweep = event
        if event.get("kind") == "joint_report":
            of_joint = event
    if "sweep_started" not in kinds:
        data = _data(spec, about)
        yield sweep_started_event(spec, tags, data, about.get("started_ms", 0))
    of_trials = missing_events(study, spec, told, tags)
    yield from of_trials
    if about.get("state") not in ("finished", "interrupted"):
        return
    counts = {str(state): count for state, count in study.counts().items()}
    end = sweep_ended_event(about["state"], counts, about.get("ended_ms", 0))
    # From the end event the tracker makes its table of trials.
    if of_trials or not _is_same(of_sweep, end):
        yield end
        yield from _report_events(study, home)
    elif "report" not in kinds:
        yield from _report_events(study, home)
    joint = _joint_report(study, home)
    if joint is not None and not _is_same(of_joint, joint):
        yield joint
    if about.get("registered") and "registered" not in kinds:
        yield registered_event(about["registered"], about.get("ended_ms", 0))


def _is_same(event: Event | None, other: Event) -> bool:
    """Whether an event that the outbox has is another one, at any time."""
    wanted = {key: value for key, value in other.items() if key != "timestamp_ms"}
    return event is not None and wanted.items() <= event.items()


def _data(spec: SweepSpec, about: Mapping[str, Any]) -> DataRecord | None:
    """The data set; None if an older version launched the sweep, whose study does not name it."""
    if not {"data_name", "data_fingerprint"} <= about.keys():
        return None
    return data_record(spec.data, about["data_name"], about["data_fingerprint"])


def _report_events(study: StudyReader, home: Path) -> Iterator[Event]:
    """The report that was written at the sweep's end, if it still exists."""
    about = study.attributes
    report = _report(about.get("places") or {}, home, study.name)
    if report is not None:
        yield report_event(*report, about.get("ended_ms", 0))


def _joint_report(study: StudyReader, home: Path) -> Event | None:
    """The report over all data sets of a sweep that is a part, if it was written."""
    joint = joint_with_part(home, study.name)
    record = joint_record(home, joint) if joint else None
    if joint is None or record is None:
        return None
    report = _report(record.places, home, joint)
    if report is None:
        return None
    return joint_report_event(joint, *report, study.attributes.get("ended_ms", 0))


def _report(places: Mapping[str, Any], home: Path, sweep: str) -> tuple[dict[str, str], str] | None:
    """A sweep's report, its files and its answer; None if it was not written, or is damaged."""
    try:
        folder = Folder.open(places.get("storage") or str(home)).child(sweep)
        files = {name: folder.read_bytes(name).decode() for name in REPORT_FILES}
        return files, str(json.loads(files[REPORT_NUMBERS])["answer"])
    except (StorageError, ValueError, KeyError, TypeError):
        return None


def _tags(about: Mapping[str, Any]) -> dict[str, str]:
    """The driver's tags for runs, as far as the study keeps them."""
    packages = {f"version.{name}": version for name, version in about.get("packages", {}).items()}
    known = {"data_fingerprint": "data_fingerprint", "code": "code_version", USER_TAG: "user"}
    return packages | {tag: about[key] for tag, key in known.items() if key in about}

"""Makes a lost outbox again, from the study and the trials' checkpoints."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import TrackingError
from orchestrator.outbox import Outbox
from orchestrator.places import home_option
from orchestrator.spec_loading import read_spec
from orchestrator.study import StudyReader
from orchestrator.trial_events import (
    REPORT_FILES,
    REPORT_NUMBERS,
    Event,
    Told,
    checkpoint_rows,
    missing_events,
    report_event,
    sweep_started_event,
)
from prvr_model.storage import Folder, StorageError


def rebuild_outbox(path: Path, study: StudyReader, home: Path) -> None:
    """Write a sweep's outbox as its driver would have.

    It has the identity of the lost one, by which MLflow knows the sweep's runs. Trials that are
    unfinished are left to `resume`, which tells of them.

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
            f"`prvr-sweep status {study.name}{home_option(home)}`"
        )
    # Positions in the lost file mean nothing in this one.
    for position in path.parent.glob(f"{path.stem}.*.position"):
        position.unlink()
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    outbox = Outbox(partial, identity)
    for event in _events(study, home):
        outbox.append(event)
    is_whole, problem = outbox.settle(), outbox.problem
    outbox.close()
    if not is_whole:
        raise TrackingError(f"the outbox cannot be made again: {problem}")
    partial.rename(path)


def _events(study: StudyReader, home: Path) -> Iterator[Event]:
    about = study.attributes
    spec = read_spec(about["spec_yaml"], (), f"spec of {study.name}", home)
    tags = _tags(about)
    yield sweep_started_event(spec, tags, about.get("started_ms", 0))
    yield from missing_events(study, spec, Told(), tags, checkpoint_rows)
    if about.get("state") in ("finished", "interrupted"):
        counts = {str(state): count for state, count in study.counts().items()}
        yield {
            "kind": "sweep_ended",
            "state": about["state"],
            "counts": counts,
            "timestamp_ms": about.get("ended_ms", 0),
        }
        yield from _report_events(study, home)


def _report_events(study: StudyReader, home: Path) -> Iterator[Event]:
    """The report that was written at the sweep's end, if it is still there."""
    about = study.attributes
    places = about.get("places") or {}
    folder = Folder.open(places.get("storage") or str(home)).child(study.name)
    try:
        files = {name: folder.read_bytes(name).decode() for name in REPORT_FILES}
        text = json.loads(files[REPORT_NUMBERS])["answer"]
    except (StorageError, ValueError, KeyError):
        return
    yield report_event(files, text, about.get("ended_ms", 0))


def _tags(about: Mapping[str, Any]) -> dict[str, str]:
    """What the driver tagged runs with, as far as the study keeps it."""
    packages = {f"version.{name}": one for name, one in about.get("packages", {}).items()}
    known = {"data_fingerprint": "data_fingerprint", "code": "code_version"}
    return packages | {tag: about[key] for tag, key in known.items() if key in about}

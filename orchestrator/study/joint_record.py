"""What a home keeps of a sweep over several data sets, beside the studies of its parts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import read_joint
from prvr_model.files.folder import Folder, StorageError

_FOLDER = "joint"


@dataclass(frozen=True)
class JointRecord:
    """A sweep over several data sets, as it was launched or extended.

    Args:
        spec_yaml: Its resolved spec.
        parts: Name of each part's sweep by data set, in the order in which they run.
        places: Where it keeps things and how trials run, as `SweepContext.attributes` has them.
    """

    spec_yaml: str
    parts: Mapping[str, str]
    places: Mapping[str, Any]

    def write(self, home: Path, name: str) -> None:
        """Keep it, whole or not at all.

        Raises:
            StorageError: The home cannot be written.
        """
        _folder(home).write_bytes(f"{name}.json", json.dumps(asdict(self)).encode())


def joint_record(home: Path, name: str) -> JointRecord | None:
    """What a home keeps of a sweep over several data sets; None if it has none of this name."""
    try:
        return JointRecord(**json.loads((home / _FOLDER / f"{name}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def opened_joint(home: Path, name: str) -> tuple[JointRecord, JointSpec]:
    """What a home keeps of a sweep over several data sets, and its spec.

    Raises:
        SweepNotFoundError: The home has no sweep over several data sets of this name.
        SpecError: Another version wrote its spec, which this one cannot read.
    """
    record = joint_record(home, name)
    if record is None:
        raise SweepNotFoundError(name, str(home), [])
    return record, read_joint(record.spec_yaml, source=f"sweep {name}")


def joint_with_part(home: Path, part: str) -> str | None:
    """The sweep over several data sets that has a sweep of this name as a part; None: none has."""
    names = [path.stem for path in sorted((home / _FOLDER).glob("*.json"))]
    found = ((name, joint_record(home, name)) for name in names)
    return next((name for name, kept in found if kept and part in kept.parts.values()), None)


def parts_note(home: Path, name: str) -> str | None:
    """What is said where one sweep is needed and a sweep over several data sets was named."""
    kept = joint_record(home, name)
    if kept is None:
        return None
    return f"{name} is a sweep over several data sets; name one of its parts: " + ", ".join(
        kept.parts.values()
    )


def keep_transfer(home: Path, name: str, content: Mapping[str, Any]) -> None:
    """Keep the scores of a joint sweep's winners on all data sets.

    Raises:
        StorageError: The home cannot be written.
    """
    text = json.dumps(content, allow_nan=False)
    _folder(home).child("transfer").write_bytes(f"{name}.json", text.encode())


def kept_transfer(home: Path, name: str) -> dict[str, Any] | None:
    """What `keep_transfer` kept; None without it, or if it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(
            _folder(home).child("transfer").read_bytes(f"{name}.json")
        )
        return found
    except (StorageError, ValueError):
        return None


def _folder(home: Path) -> Folder:
    return Folder.open(home.resolve() / _FOLDER)

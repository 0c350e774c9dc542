"""A pickle that writes a file when it is read, in the forms in which it may come."""

import pickle
from pathlib import Path


class Attack:
    """Whoever unpickles this makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def attack(marker: Path) -> bytes:
    """The pickle, proved to work."""
    content = pickle.dumps(Attack(marker), protocol=2)
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    return content

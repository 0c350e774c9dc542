"""How names of videos, and captions, are compared between files that spell them differently."""

import re
from collections.abc import Iterable, Sequence

PREFIX = "v_"
"""What ActivityNet's annotations have before a video's id, and its features have not."""

_NAMED = 3


class VideoNames:
    """The corpus's names of videos that files write with or without `v_`."""

    def __init__(self, videos: Iterable[str]) -> None:
        self._own = {name.removeprefix(PREFIX): name for name in videos}
        self._own |= {name: name for name in self._own.values()}

    def of(self, name: str) -> str | None:
        """The corpus's name; None if it has no such video."""
        return self._own.get(name) or self._own.get(name.removeprefix(PREFIX))


def letters(text: str) -> str:
    """What of a caption survives the spellings of its releases."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def tell(what: str, names: Sequence[str], notes: list[str]) -> None:
    """Note how many there are of something, and the first of them; nothing where there are none."""
    if names:
        notes.append(f"{what}: {len(names)} ({first_names(names)})")


def first_names(names: Sequence[str]) -> str:
    """The first names, with dots where there are more."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")

"""Reads caption files: one `<video>#enc#<k> <text>` or `<video>#<k> <text>` per line."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prvr_model.store.importers.foreign_files import HEAD_BYTES, foreign_kind, rewritten_by
from prvr_model.store.importers.problems import Problems


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """One caption.

    Args:
        caption_id: Its id.
        video_id: Its video; in caption files the part of the caption id before the first `#`.
        text: The caption; empty where there are only features.
        place: File and line, for messages.
    """

    caption_id: str
    video_id: str
    text: str
    place: str


def read_caption_file(path: Path, problems: Problems) -> list[CaptionLine]:
    """Captions of a file in its order; malformed lines and repeated ids become problems.

    Args:
        path: UTF-8, with or without a byte order mark; empty lines are skipped.
        problems: Collects what is wrong.

    Returns:
        The captions that can be used, each id once; none if the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.add("unreadable file", f"{path}: {error.strerror}")
        return []
    # An empty file is told of below, as one of blank lines is.
    if content and (kind := _other_kind(path, content)):
        problems.add("not a caption file", f"{path}: {kind}")
        return []
    lines = list(_well_formed(path, content, problems))
    if not lines:
        problems.add("caption file without captions", str(path))
    return list(each_once(lines, problems))


def _other_kind(path: Path, content: bytes) -> str | None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"it is UTF-16: {rewritten_by('iconv -f UTF-16 -t UTF-8', path)}"
    if b"\0" in content[:HEAD_BYTES]:
        return foreign_kind(path, content[:HEAD_BYTES]) or "it is not text"
    return foreign_kind(path, content[:HEAD_BYTES])


def _well_formed(path: Path, content: bytes, problems: Problems) -> Iterator[CaptionLine]:
    # Captions contain other characters that `splitlines` would split at; \r alone ends lines in
    # files of old Macs, which have no \n.
    end = b"\n" if b"\n" in content else b"\r"
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(end), start=1):
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError as error:
            place = f"{path.name}:{number}"
            problems.add("malformed caption line", f"{place} is not UTF-8 ({error.reason})")
            command = rewritten_by("iconv -f ISO-8859-1 -t UTF-8", path)
            problems.hint(f"{path.name} is not UTF-8; if it is ISO-8859-1: {command}")
            continue
        if line:
            yield from _caption(line, path.name, number, problems)


def _caption(line: str, file: str, number: int, problems: Problems) -> Iterator[CaptionLine]:
    """The caption of a line, if it has the form of one."""
    caption_id, *text = line.split(maxsplit=1)
    video_id, _, number_in_video = caption_id.partition("#")
    # HDF5 knows no name with a zero in it.
    if video_id and number_in_video and "\0" not in caption_id:
        yield CaptionLine(caption_id, video_id, "".join(text), f"{file}:{number}")
    else:
        problems.add(
            "malformed caption line",
            f"{file}:{number} starts with {caption_id!r}, expected <video>#enc#<k> <text>, with "
            "white space after the id and none in it",
        )


_Line = TypeVar("_Line", bound=CaptionLine)


def each_once(lines: Iterable[_Line], problems: Problems) -> Iterator[_Line]:
    """The lines whose caption id is new; the others become problems."""
    first: dict[str, _Line] = {}
    for line in lines:
        earlier = first.setdefault(line.caption_id, line)
        if earlier is line:
            yield line
        else:
            problems.add(
                "duplicate id", f"caption {line.caption_id!r} at {earlier.place} and {line.place}"
            )

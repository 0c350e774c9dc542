"""Reads caption files: one `<video>#enc#<k> <text>` or `<video>#<k> <text>` per line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prvr_model.store.importers.problems import Problems


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """One caption; `line` counts from 1 in `file`."""

    caption_id: str
    text: str
    file: str
    line: int

    @property
    def video_id(self) -> str:
        """The part before the first `#`."""
        return self.caption_id.partition("#")[0]

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"


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
        problems.add("missing file", f"cannot read {path}: {error.strerror}")
        return []
    lines = list(_well_formed(path.name, content, problems))
    if not lines:
        problems.add("caption file without captions", str(path))
    return list(_each_once(lines, problems))


def _well_formed(file: str, content: bytes, problems: Problems) -> Iterator[CaptionLine]:
    # Only \n ends a line: captions contain other characters that `splitlines` would split at.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            caption_id, _, text = raw.decode().strip().partition(" ")
        except UnicodeDecodeError as error:
            problems.add("malformed caption line", f"{file}:{number} is not UTF-8 ({error.reason})")
            continue
        video_id, hash_sign, number_in_video = caption_id.partition("#")
        if video_id and hash_sign and number_in_video:
            yield CaptionLine(caption_id, text.strip(), file, number)
        else:
            problems.add(
                "malformed caption line",
                f"{file}:{number} starts with {caption_id!r}, expected <video>#enc#<k> <text>",
            )


def _each_once(lines: Iterable[CaptionLine], problems: Problems) -> Iterator[CaptionLine]:
    first: dict[str, CaptionLine] = {}
    for line in lines:
        earlier = first.setdefault(line.caption_id, line)
        if earlier is line:
            yield line
        else:
            problems.add(
                "duplicate id", f"caption {line.caption_id!r} at {earlier.place} and {line.place}"
            )

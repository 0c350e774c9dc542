"""Finds the files of a gallery's videos in a folder, and nothing else on the disk."""

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What browsers and cameras write; a video of a gallery may be named without the ending of its file.
_ENDINGS = ("", ".mp4", ".webm", ".m4v", ".mov", ".mkv", ".avi")
# Python's table lacks some of them on some systems.
_KINDS = {".mkv": "video/x-matroska", ".webm": "video/webm", ".m4v": "video/mp4"}


@dataclass(frozen=True)
class VideoFile:
    """A video's file and its media type."""

    path: Path
    media_type: str


class VideoFiles:
    """The files of videos in a folder.

    Args:
        folder: The folder, without links in its own path.
        holds: Says whether a name is a video's; for no other name is the disk looked at.
    """

    def __init__(self, folder: Path, holds: Callable[[str], bool]) -> None:
        self._folder = folder.resolve()
        self._holds = holds

    def find(self, video: str) -> VideoFile | None:
        """The file of a video: in the folder, named like the video, with or without an ending.

        None: there is none, or its path or a link leads out of the folder.
        """
        if not self._holds(video):
            return None
        found = (self._inside(f"{video}{ending}") for ending in _ENDINGS)
        return next((file for file in found if file), None)

    def _inside(self, name: str) -> VideoFile | None:
        try:
            path = (self._folder / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there; a NUL in it; links in a circle
            return None
        kind = _KINDS.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or ""
        is_video = path.is_relative_to(self._folder) and path.is_file() and kind[:6] == "video/"
        return VideoFile(path, kind) if is_video else None

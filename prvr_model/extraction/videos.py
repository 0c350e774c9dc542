"""Finds the files of videos that captions name."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prvr_model.errors import DataError
from prvr_model.extraction.decoding import VideoError
from prvr_model.extraction.pipeline import BrokenVideo, VideoJob
from prvr_model.store.importers.annotation_names import PREFIX

# What is a video where captions name no ending; a file that is named in full may have any.
_ENDINGS = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}


def find_videos(folder: Path, videos: Iterable[str]) -> tuple[list[VideoJob], list[BrokenVideo]]:
    """Find the files of videos.

    Args:
        folder: Where they are; a video's name may lead into folders below, never outside.
        videos: File names, with or without their endings, and with or without ActivityNet's `v_`
            where the file's has none.

    Returns:
        What can be decoded, and what cannot be found.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    finder = _Finder(folder.resolve())
    jobs, missing = [], []
    for video in videos:
        try:
            path = finder.find(video)
            jobs.append(VideoJob(video, path, _key(video, path)))
        except VideoError as error:
            missing.append(BrokenVideo(video, str(error)))
        except OSError as error:
            missing.append(BrokenVideo(video, f"cannot be opened: {error.strerror}"))
    return jobs, missing


def list_videos(folder: Path) -> list[str]:
    """Names of the videos below a folder, relative to it, sorted.

    Raises:
        DataError: There is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    names = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
    if not names:
        endings = ", ".join(sorted(_ENDINGS))
        raise DataError(f"{folder} holds no video; looked for files ending in {endings}")
    return names


class _Finder:
    """Looks into each folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed = cache(self._list)

    def find(self, video: str) -> Path:
        named = self._root / video
        path = named if named.is_file() else self._with_ending(named)
        resolved = path.resolve()
        if not resolved.is_relative_to(self._root):
            raise VideoError(f"it leads out of {self._root}, to {resolved}")
        return resolved

    def _with_ending(self, named: Path) -> Path:
        # `..` in the name could lead anywhere; links are looked at when the file is found.
        inside = Path(*named.parts).is_relative_to(self._root) and ".." not in named.parts
        listed = self._listed(named.parent) if inside else {}
        found = listed.get(named.name) or listed.get(named.name.removeprefix(PREFIX), [])
        if not found:
            raise VideoError(f"no file of this name in {self._root}")
        if len(found) > 1:
            names = ", ".join(sorted(path.name for path in found))
            raise VideoError(f"several files have this name ({names}); name one with its ending")
        return found[0]

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        """Videos of a folder by name without ending."""
        found: dict[str, list[Path]] = defaultdict(list)
        if folder.is_dir():
            for path in folder.iterdir():
                if path.suffix.lower() in _ENDINGS:
                    found[path.name.removesuffix(path.suffix)].append(path)
        return found


def _key(video: str, path: Path) -> str:
    about = path.stat()
    content = f"{video}\0{about.st_size}\0{about.st_mtime_ns}"
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:32]

"""The layout of Moment-DETR: QVHighlights as JSON lines, and `.npz` files of two-second clips.

    <root>/[features/]clip_features/<vid>.npz          'features', (T, 512)
    <root>/[features/]slowfast_features/<vid>.npz      'features', (T, 2304)
    <root>/[features/]clip_text_features/qid<n>.npz    'last_hidden_state', (L, 512)
    <root>/[data/|annotations/]highlight_{train,val,test}_release.jsonl

A line has `qid`, `query` and `vid`; `duration` and `relevant_windows` (moments) are taken where
they are there. Several kinds of video features stand side by side, as they are: SlowFast first, as
in MSC's files. A `vid` is a piece of a YouTube video, `<YouTube id>_<start>_<end>`; `--join-pieces`
joins those that captions name in the order of their starts. Caption ids are `<video>#enc#<qid>`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine, each_once
from prvr_model.store.importers.found_files import Wanted, holds, names_in, the_one
from prvr_model.store.importers.layout import Content, Keys, Layout, Request
from prvr_model.store.importers.numpy_features import (
    ColumnFeatures,
    NumpyFolder,
    PieceFeatures,
    is_numpy_folder,
)
from prvr_model.store.importers.problems import ProblemError, Problems

_KINDS = ("slowfast_features", "clip_features")
_TEXT = "clip_text_features"
_SECONDS_PER_ROW = 2.0
_MALFORMED = "malformed caption line"


@dataclass(frozen=True)
class _Line:
    """A line of an annotation file."""

    place: str
    qid: str
    query: str
    piece: str
    duration_s: float | None
    windows: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Found:
    """What all lines say together."""

    splits: dict[str, list[CaptionLine]] = field(default_factory=dict)
    pieces: dict[str, list[str]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, CaptionAnnotation] = field(default_factory=dict)


def _evidence(root: Path, collection: str | None) -> str | None:
    del collection
    folder = _captions_folder(root, None)
    kinds = _kinds_there(_features_folder(root)) if root.is_dir() else []
    if folder and kinds:
        return f"{folder} holds highlight_*.jsonl, and {', '.join(kinds)} hold NumPy files"
    return None


def _read(request: Request, stack: ExitStack) -> Content:
    del stack
    root, choices, problems = request.root, request.choices, request.problems
    features = _features_folder(root)
    kinds = _kinds(features, request)
    texts = _texts(features, request)
    captions = _captions_folder(root, choices.captions)
    found = _found(captions, choices.join_pieces, problems)
    columns = ColumnFeatures([NumpyFolder(features / kind, "features") for kind in kinds])
    return Content(
        request.collection or root.resolve().name,
        {
            "kind": "moment-detr",
            "folder": str(root.resolve()),
            "video_features": kinds,
            "text_features": texts.name if texts else None,
            "join_pieces": choices.join_pieces,
        },
        PieceFeatures(columns, found.pieces) if kinds else None,
        NumpyFolder(texts, "last_hidden_state", takes_vectors=True) if texts else None,
        found.splits,
        lambda split: f"{captions or root} has no {_file_name(split)}",
        Keys(lambda line: [line.video_id], lambda line: [f"qid{_qid(line)}"]),
        durations=found.durations,
        annotations=found.annotations,
        seconds_per_row=_SECONDS_PER_ROW,
    )


def _file_name(split: str) -> str:
    return f"highlight_{split}_release.jsonl"


def _qid(line: CaptionLine) -> str:
    return line.caption_id.rpartition("#")[2]


def _features_folder(root: Path) -> Path:
    inner = root / "features"
    return inner if inner.is_dir() else root


def _captions_folder(root: Path, chosen: str | None) -> Path | None:
    """The folder of the annotation files; None if there is none."""
    folders = [root / chosen] if chosen else [root, root / "data", root / "annotations"]
    return next((folder for folder in folders if any(folder.glob("highlight_*.jsonl"))), None)


def _kinds_there(folder: Path) -> list[str]:
    names = [name.rstrip("/") for name in names_in(folder) if name.endswith("/")]
    return [name for name in names if "text" not in name and is_numpy_folder(folder / name)]


def _kinds(folder: Path, request: Request) -> list[str]:
    """Folders of video features in the order of their columns; none, and a problem, if unclear."""
    option, chosen = "--video-features", request.choices.video_features
    there = _kinds_there(folder) if folder.is_dir() else []
    if chosen is not None:
        kinds = [name.strip() for name in chosen.split(",")]
        if missing := [name for name in kinds if not (folder / name).is_dir()]:
            lacking = f"{folder} has no {', '.join(missing)}; folders of features there: "
            request.problems.add("missing file", lacking + (", ".join(there) or "none"))
            return []
        return kinds
    if len(there) > 1 and set(there) != set(_KINDS):
        choose = f"name those that are meant in order, {option} {','.join(there[:2])}"
        request.problems.add("several feature files", f"{folder} has {', '.join(there)}; {choose}")
        return []
    if not there:
        what = holds(folder, names_in(folder)) if folder.is_dir() else f"{folder} does not exist"
        request.problems.add("missing file", f"there are no folders of .npz files; {what}")
        return []
    kinds = [kind for kind in _KINDS if kind in there] or there
    request.notes.append(f"columns of videos: {', then '.join(kinds)}")
    return kinds


def _texts(folder: Path, request: Request) -> Path | None:
    wanted = Wanted(
        "folder of NumPy files with text in its name",
        "--text-features",
        lambda path: "text" in path.name and is_numpy_folder(path),
        _TEXT,
    )
    try:
        return the_one(folder, wanted, request.choices.text_features, request.notes)
    except ProblemError as error:
        request.problems.add(error.kind, str(error))
        return None


def _found(folder: Path | None, joins: bool, problems: Problems) -> _Found:
    found = _Found()
    paths = {split: folder / _file_name(split) for split in SPLIT_NAMES} if folder else {}
    lines = {
        split: list(_lines(path, joins, problems))
        for split, path in paths.items()
        if path.is_file()
    }
    begins = _take_pieces(found, [line for of_split in lines.values() for line in of_split], joins)
    for split, of_split in lines.items():
        captions = [_caption(found, line, begins[line.piece], joins) for line in of_split]
        if not captions:
            problems.add("caption file without captions", str(paths[split]))
        found.splits[split] = list(each_once(captions, problems))
    return found


def _caption(found: _Found, line: _Line, begin_s: float, joins: bool) -> CaptionLine:
    video = _video(line.piece, joins)
    caption_id = f"{video}#enc#{line.qid}"
    if line.windows:
        moments = tuple((begin_s + start, begin_s + end) for start, end in line.windows)
        found.annotations[caption_id] = CaptionAnnotation(moments)
    return CaptionLine(caption_id, video, line.query, line.place)


def _take_pieces(found: _Found, lines: Iterable[_Line], joins: bool) -> dict[str, float]:
    """Note each video's pieces and duration; returns where in its video each piece begins."""
    lengths: dict[str, float | None] = {}
    for line in lines:
        lengths.setdefault(line.piece, line.duration_s)
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    for piece in sorted(lengths, key=_start) if joins else lengths:
        video, length = _video(piece, joins), lengths[piece]
        found.pieces.setdefault(video, []).append(piece)
        begins[piece] = ends.get(video, 0.0)
        ends[video] = begins[piece] + (_named_length(piece) if length is None else length)
        if length is not None:
            found.durations[video] = ends[video]
        else:
            found.durations.pop(video, None)
    return begins


def _video(piece: str, joins: bool) -> str:
    return piece.rsplit("_", 2)[0] if joins else piece


def _start(piece: str) -> float:
    return float(piece.rsplit("_", 2)[1])


def _named_length(piece: str) -> float:
    """Seconds of a piece by its name; they matter only where several are joined."""
    parts = piece.rsplit("_", 2)
    try:
        return float(parts[2]) - float(parts[1])
    except (IndexError, ValueError):
        return 0.0


def _lines(path: Path, joins: bool, problems: Problems) -> Iterator[_Line]:
    content = path.read_bytes()
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            line = _line(place, json.loads(raw))
            if joins:
                _start(line.piece)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            wanted = "a JSON object with qid, query and vid, perhaps duration and relevant_windows"
            pieces = "; --join-pieces takes a vid as <YouTube id>_<start>_<end>" if joins else ""
            problems.add(_MALFORMED, f"{place} starts with {raw[:40]!r}, expected {wanted}{pieces}")
        else:
            yield line


def _line(place: str, values: Mapping[str, Any]) -> _Line:
    duration = values.get("duration")
    windows = [(float(start), float(end)) for start, end in values.get("relevant_windows") or ()]
    # A store takes no others.
    if not all(0 <= start < end < math.inf for start, end in windows):
        raise ValueError("windows")
    if duration is not None and not 0 < float(duration) < math.inf:
        raise ValueError("duration")
    return _Line(
        place,
        str(values["qid"]),
        str(values["query"]).strip(),
        str(values["vid"]),
        None if duration is None else float(duration),
        tuple(windows),
    )


LAYOUT = Layout(_evidence, _read, frozenset({"captions", "join_pieces"}))

"""The layout for data of one's own: a table of captions, and a NumPy file per video and caption.

    <root>/captions.csv (or .jsonl, .ndjson, .parquet)     see `annotation_files`
    <root>/video_features/<video>.npy (or .npz)            (T, D)
    <root>/text_features/<caption id>.npy (or .npz)        (L, D) or (D,)

Caption ids are those of the column `id`, else `<video>#enc#<k>`, k from 0 within each video.
"""

from contextlib import ExitStack
from pathlib import Path

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.annotation_files import read_captions
from prvr_model.store.importers.annotation_forms import with_ids
from prvr_model.store.importers.caption_files import CaptionLine, each_once
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.found_files import Wanted, the_one
from prvr_model.store.importers.layout import EXACT_KEYS, Content, Layout, Request
from prvr_model.store.importers.numpy_features import NumpyFolder, is_numpy_folder
from prvr_model.store.importers.problems import ProblemError, Problems

_VIDEOS, _TEXTS = "video_features", "text_features"
_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


def _is_table(path: Path) -> bool:
    # Moment-DETR's annotations have the same ending.
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith("highlight_")


_CAPTIONS = Wanted("table of captions", "--captions", _is_table)


def _folder(name: str, option: str, other: str) -> Wanted:
    return Wanted(
        "folder of NumPy files",
        option,
        lambda path: path.name != other and is_numpy_folder(path),
        name,
    )


def _evidence(root: Path, collection: str | None) -> str | None:
    del collection
    paths = sorted(root.iterdir()) if root.is_dir() else []
    tables = [path for path in paths if _is_table(path)]
    if tables and sum(map(is_numpy_folder, paths)) >= 2:
        return f"{tables[0]} is a table, and folders of NumPy files lie beside it"
    return None


def _read(request: Request, stack: ExitStack) -> Content:
    del stack
    choices = request.choices
    table = _chosen(_CAPTIONS, choices.captions, request)
    videos = _chosen(_folder(_VIDEOS, "--video-features", _TEXTS), choices.video_features, request)
    texts = _chosen(_folder(_TEXTS, "--text-features", _VIDEOS), choices.text_features, request)
    splits, annotations = _captions(table, request.problems)
    return Content(
        request.collection or request.root.resolve().name,
        {
            "kind": "table",
            "folder": str(request.root.resolve()),
            "captions": table.name if table else None,
            "video_features": videos.name if videos else None,
            "text_features": texts.name if texts else None,
        },
        _opened(videos, takes_vectors=False),
        _opened(texts, takes_vectors=True),
        splits,
        lambda split: f"{table or request.root} has no row of split {split}",
        EXACT_KEYS,
        annotations=annotations,
    )


def _chosen(wanted: Wanted, name: str | None, request: Request) -> Path | None:
    try:
        return the_one(request.root, wanted, name, request.notes)
    except ProblemError as error:
        request.problems.add(error.kind, str(error))
        return None


def _opened(folder: Path | None, takes_vectors: bool) -> FeatureSource | None:
    return NumpyFolder(folder, takes_vectors=takes_vectors) if folder else None


def _captions(
    table: Path | None, problems: Problems
) -> tuple[dict[str, list[CaptionLine]], dict[str, CaptionAnnotation]]:
    """Captions by split, and what else is known of each by its id."""
    read = read_captions(table, problems) if table else None
    records = list(with_ids(read.records, "#enc#")) if read else []
    # That no split has captions is no problem of its own.
    splits: dict[str, list[CaptionLine]] = {} if records else {name: [] for name in SPLIT_NAMES}
    for record in records:
        # Without splits all rows are train's, of which --val-from-train takes a part.
        splits.setdefault(record.split or "train", []).append(record)
    annotations = {record.caption_id: record.annotation for record in records}
    return {name: list(each_once(lines, problems)) for name, lines in splits.items()}, annotations


LAYOUT = Layout(_evidence, _read, frozenset({"captions"}))

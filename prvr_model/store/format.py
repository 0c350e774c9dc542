"""What a feature store is on disk: names of its files, schemas, manifest and fingerprint.

A store is a folder:

    manifest.json                  Manifest
    <split>.videos.arrow           id, duration_s (NaN: unknown), features: a list of frame rows
    <split>.captions.arrow         id, video (row in the split's videos), text, moments (start and
                                   end in seconds of each), relevant (rows of videos),
                                   query_type (empty: unknown), features: token rows

Format version 1 has no duration_s, moments, relevant, recipe and seconds_per_row, version 2 no
query_type.

The reader and the writer both follow this module, so that neither has to import the other.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from prvr_model.errors import StoreError, did_you_mean
from prvr_model.settings import Section
from prvr_model.store.annotations import MOMENTS_TYPE, RELEVANT_TYPE
from prvr_model.store.recipe import FeatureRecipe

FORMAT = "prvr-sweep feature store"
# Raised whenever a reader of the earlier version would misread the files.
STORE_VERSION = 3
READABLE_VERSIONS = (1, 2, STORE_VERSION)
MANIFEST_NAME = "manifest.json"
SPLIT_NAMES = ("train", "val", "test")

Kind: TypeAlias = Literal["videos", "captions"]
DTypeName: TypeAlias = Literal["float16", "float32"]
KINDS: tuple[Kind, ...] = ("videos", "captions")
_ARROW_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


class SplitCounts(Section):
    """How much one split holds; frames and tokens are rows over all its videos and captions."""

    videos: int = Field(ge=1)
    captions: int = Field(ge=1)
    frames: int = Field(ge=1)
    tokens: int = Field(ge=1)


class FileRecord(Section):
    """What `open` (size) and `verify` (content) check of one file."""

    size_bytes: int = Field(ge=1)
    content_sha256: str


class ZeroRows(Section):
    """Videos or captions that end in rows of zeros; `are_all` counts those of nothing but zeros.

    The writer notes them, so that `plan` need not read the whole store. Stores without such
    items, and those made before this was noted, have no entry.
    """

    kind: Kind
    are_all: bool
    count: int = Field(ge=1)
    first: list[str]


class Manifest(Section):
    """Description of a store; `source` says in words and numbers where the data came from.

    `recipe` and `seconds_per_row` are None where nothing is known of how the features were made.
    """

    format: str = FORMAT
    format_version: int = STORE_VERSION
    name: str
    video_dim: int = Field(ge=1)
    text_dim: int = Field(ge=1)
    video_dtype: DTypeName
    text_dtype: DTypeName
    splits: dict[str, SplitCounts]
    files: dict[str, FileRecord]
    source: dict[str, Any]
    recipe: FeatureRecipe | None = None
    seconds_per_row: float | None = Field(default=None, gt=0)
    zero_rows: list[ZeroRows] = Field(default_factory=list)
    # It becomes the name of a folder: anything but hexadecimal digits could lead to another one.
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, splits: dict[str, SplitCounts]) -> dict[str, SplitCounts]:
        """Splits name files: one called `../other/train` would be read outside of the store."""
        _refuse_others(splits, SPLIT_NAMES, "splits")
        return splits

    @field_validator("files")
    @classmethod
    def _own_files(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        ours = [file_name(split, kind) for split in SPLIT_NAMES for kind in KINDS]
        _refuse_others(files, ours, "files")
        return files


def _refuse_others(found: Iterable[str], allowed: Sequence[str], what: str) -> None:
    if others := [name for name in found if name not in allowed]:
        raise ValueError(f"{what} {others} are not a store's; those are {', '.join(allowed)}")


def zero_row_warnings(manifest: Manifest) -> list[str]:
    """What rows of zeros do to training, a sentence for each kind of them."""
    return [_zero_row_warning(manifest, zeros) for zeros in manifest.zero_rows]


def _zero_row_warning(manifest: Manifest, zeros: ZeroRows) -> str:
    total = sum(getattr(counts, zeros.kind) for counts in manifest.splits.values())
    names = ", ".join(map(repr, zeros.first)) + (", ..." if zeros.count > len(zeros.first) else "")
    what = "zeros in every row" if zeros.are_all else "rows of zeros at the end"
    text = f"{what} of {zeros.count} of {total} {zeros.kind} ({names})"
    if zeros.kind == "captions":
        text += ", so the sentence vector, which is the last row, is zero"
    remedy = "make their features again" if zeros.are_all else "cut the padding off"
    return f"{text}: {remedy} and import again"


def file_name(split: str, kind: Kind) -> str:
    """Name of a split's file inside the store."""
    return f"{split}.{kind}.arrow"


def schema(kind: Kind, dim: int, dtype: DTypeName, version: int = STORE_VERSION) -> pa.Schema:
    """Arrow schema of a file; large_list because one batch may exceed 2**31 values."""
    rows = pa.large_list(pa.list_(_ARROW_TYPES[dtype], dim))
    known: list[tuple[str, pa.DataType]] = []
    if kind == "captions":
        known = [("video", pa.int64()), ("text", pa.string())]
    if version > 1:
        known += (
            [("duration_s", pa.float64())]
            if kind == "videos"
            else [("moments", MOMENTS_TYPE), ("relevant", RELEVANT_TYPE)]
        )
    if version > 2 and kind == "captions":
        known.append(("query_type", pa.string()))
    return pa.schema([("id", pa.string()), *known, ("features", rows)])


class ContentDigest:
    """SHA-256 over items in their order, whatever batches they are written in."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, texts: tuple[str, ...], rows: np.ndarray, annotation: bytes = b"") -> None:
        """Take in one item: its strings, its C-contiguous (rows, dim) features, what else is known.

        An item of which nothing else is known has the digest that format version 1 gave it.
        """
        for text in texts:
            encoded = text.encode()
            # Lengths go first, or ("ab", "c") and ("a", "bc") would have one digest.
            self._hash.update(len(encoded).to_bytes(8, "little") + encoded)
        self._hash.update(np.asarray(rows.shape, dtype="<i8").tobytes())
        self._hash.update(rows.data)
        if annotation:
            # No text is that long, so that no next item reads like an annotation.
            self._hash.update(b"\xff" * 8 + len(annotation).to_bytes(8, "little") + annotation)

    def hexdigest(self) -> str:
        """Digest of the items so far."""
        return self._hash.hexdigest()


def fingerprint_of(
    dims: tuple[int, int], dtypes: tuple[str, str], digests: Mapping[str, str]
) -> str:
    """Fingerprint of a store's content; name and source do not enter.

    Args:
        dims: Dimensions of frames and tokens.
        dtypes: Their number types.
        digests: Content digest by file name.
    """
    content = {"dims": list(dims), "dtypes": list(dtypes), "files": dict(digests)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(store: Path) -> Manifest:
    """Manifest of a store.

    Raises:
        StoreError: There is no store, its format version is unknown, or the manifest is damaged.
    """
    return _checked(_read_json(store), str(store), str(store / MANIFEST_NAME))


def parse_manifest(content: bytes, store: str) -> Manifest:
    """Manifest from the bytes of its file, wherever that is.

    Args:
        content: The bytes.
        store: What messages call the store, e.g. its URI.

    Raises:
        StoreError: It is not a store's manifest, of an unknown format version, or damaged.
    """
    file = f"{MANIFEST_NAME} of {store}"
    return _checked(_parsed(content, file), store, file)


def _checked(values: object, store: str, file: str) -> Manifest:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise StoreError(f"{store} is not a feature store: {MANIFEST_NAME} is of another kind")
    version = values.get("format_version")
    if version not in READABLE_VERSIONS:
        raise StoreError(
            f"{store} has format version {version!r}, this prvr-sweep reads versions "
            f"{', '.join(map(str, READABLE_VERSIONS))}; import the data again or use the "
            "prvr-sweep that wrote it"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        places = ", ".join(map(_place, error.errors()))
        raise StoreError(f"{file} is damaged (at {places}); import the data again") from error


def _place(problem: ErrorDetails) -> str:
    place = ".".join(map(str, problem["loc"]))
    # What our own validators say; pydantic's words for the rest mean nothing to a user.
    return f"{place}: {problem['ctx']['error']}" if problem["type"] == "value_error" else place


def is_store(path: Path) -> bool:
    """Whether `path` is a store of any version, damaged data files included."""
    try:
        values = _read_json(path)
    except StoreError:
        return False
    return isinstance(values, dict) and values.get("format") == FORMAT


def _read_json(store: Path) -> object:
    manifest = store / MANIFEST_NAME
    try:
        content = manifest.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(_no_store(store)) from None
    except OSError as error:
        raise StoreError(f"cannot read {manifest}: {error.strerror}") from error
    return _parsed(content, str(manifest))


def _no_store(store: Path) -> str:
    if store.exists():
        inside = _stores_in(store)
        hint = f"; it holds the stores {', '.join(inside)}" if inside else ""
        return f"{store} is not a feature store: it has no {MANIFEST_NAME}{hint}"
    beside = _stores_in(store.absolute().parent)
    hint = f"; stores beside it: {', '.join(beside)}{did_you_mean(store.name, beside)}"
    place = shlex.quote(str(store))
    return (
        f"there is no feature store at {store}; make one with `prvr-sweep data import "
        f"--root FOLDER {place}` or `prvr-sweep data synth {place}`"
        f"{hint if beside else ''}"
    )


def _stores_in(folder: Path) -> list[str]:
    """Names of the stores in a folder, sorted; none where it cannot be read."""
    with suppress(OSError):
        return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST_NAME}"))
    return []


def _parsed(content: bytes, file: str) -> object:
    try:
        return json.loads(content)
    except ValueError as error:
        raise StoreError(f"{file} is damaged ({error}); import the data again") from error


def size_text(num_bytes: int) -> str:
    """A size in GiB, or in MiB where it is smaller than one."""
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"

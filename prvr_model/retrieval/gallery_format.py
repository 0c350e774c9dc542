"""What a gallery is on disk: names of its files, schema and manifest.

A gallery is a folder:

    gallery.json                   GalleryManifest; replaced by a rename at each change
    part-<letters>.arrow           some hundreds of videos and more; never changed, only replaced
    index-<letters>.faiss          the inverted file, if there is one (see `ivf`)
    model/                         the exported model: it encodes queries and added videos

A row of a part is a video: its clips, then its frames, vectors of norm 1, flat. Arrow has no
bfloat16, so such vectors are the bits as uint16. If the manifest says so, all rows are there once
more for the screen of a scan, a byte a value. A reader that has opened a gallery keeps the parts
that it has mapped, whatever happens to their names.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pydantic import Field, ValidationError

from prvr_model.errors import GalleryError
from prvr_model.settings import Section
from prvr_model.store.recipe import FeatureRecipe

GALLERY_FORMAT = "prvr-sweep gallery"
GALLERY_VERSION = 1
GALLERY_MANIFEST = "gallery.json"
MODEL_FOLDER = "model"
MODEL_FILES = ("config.json", "model.safetensors")
LOCK_NAME = ".writing"

VectorType: TypeAlias = Literal["bfloat16", "float32"]
_ARROW_TYPES = {"bfloat16": pa.uint16(), "float32": pa.float32()}
_FILE_NAME = "^(part-[0-9a-f]{12}\\.arrow|index-[0-9a-f]{12}\\.faiss)$"


class BoundModel(Section):
    """The model that a gallery is bound to.

    Args:
        source: What it was named by, with the version where that is known.
        weights_sha256: Digest of `model/model.safetensors`.
        config_sha256: Digest of `model/config.json`: settings and dimensions.
        video_dim: Dimension of a frame's features.
        text_dim: Dimension of a token's features.
    """

    source: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    config_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    video_dim: int = Field(ge=1)
    text_dim: int = Field(ge=1)


class GalleryPart(Section):
    """A file of videos."""

    file: str = Field(pattern=_FILE_NAME)
    size_bytes: int = Field(ge=1)
    videos: int = Field(ge=1)


class GalleryIndex(Section):
    """The inverted file, and what was measured when it was made.

    Args:
        file: Its name.
        size_bytes: Its size.
        covers_below: Videos with ids below this are in it; later ones are always scored.
        lists: Number of lists.
        probes: Lists that a query looks into.
        rows: Best rows whose videos are scored exactly.
        recall: Recall@10 against the exact scan over the sample queries.
        wanted_recall: The recall that the probes were chosen for.
        queries: Sample queries.
        query_source: What they were.
        scored_share: Share of the videos that a sample query scored exactly, on average.
    """

    file: str = Field(pattern=_FILE_NAME)
    size_bytes: int = Field(ge=1)
    covers_below: int = Field(ge=0)
    lists: int = Field(ge=1)
    probes: int = Field(ge=1)
    rows: int = Field(ge=1)
    recall: float = Field(ge=0, le=1)
    wanted_recall: float = Field(gt=0, le=1)
    queries: int = Field(ge=1)
    query_source: str
    scored_share: float = Field(ge=0, le=1)


class GalleryManifest(Section):
    """Description of a gallery; `revision` counts its changes.

    `screen` says whether parts hold what the screen of a scan multiplies (`gallery.ScreenRows`);
    galleries that were made before there was one have none.
    """

    format: str = GALLERY_FORMAT
    format_version: int = GALLERY_VERSION
    revision: int = Field(default=1, ge=1)
    dtype: VectorType
    hidden: int = Field(ge=1)
    num_clips: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    model: BoundModel
    recipe: FeatureRecipe | None
    screen: bool = False
    parts: list[GalleryPart] = Field(default_factory=list)
    next_id: int = Field(default=0, ge=0)
    index: GalleryIndex | None = None

    @property
    def num_videos(self) -> int:
        """Number of videos."""
        return sum(part.videos for part in self.parts)

    @property
    def num_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)


def part_schema(manifest: GalleryManifest) -> pa.Schema:
    """Arrow schema of a part.

    `id` ascends over all parts and names a video for ever. Times are in seconds and NaN where
    nobody knows them; neighbouring frames may share rows of features. `thumbnail` is a JPEG file.
    `screen` and what follows is there if the manifest says so.
    """
    clips, frames, hidden = manifest.num_clips, manifest.num_frames, manifest.hidden
    vectors = _ARROW_TYPES[manifest.dtype]
    screen = [
        ("screen", pa.list_(pa.int8(), (clips + frames) * hidden)),
        ("screen_step", pa.float32()),
        ("screen_error", pa.float32()),
    ]
    return pa.schema(
        [
            ("id", pa.int64()),
            ("video", pa.string()),
            ("duration_s", pa.float64()),
            ("frame_starts_s", pa.list_(pa.float32(), frames)),
            ("frame_ends_s", pa.list_(pa.float32(), frames)),
            ("clip_of_frame", pa.list_(pa.int32(), frames)),
            ("thumbnail", pa.binary()),
            ("clips", pa.list_(vectors, clips * hidden)),
            ("frames", pa.list_(vectors, frames * hidden)),
            *(screen if manifest.screen else []),
        ]
    )


def read_gallery_manifest(gallery: Path) -> GalleryManifest:
    """Manifest of a gallery.

    Raises:
        GalleryError: There is none, of another version, or it is damaged.
    """
    file = gallery / GALLERY_MANIFEST
    try:
        values = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise GalleryError(
            f"there is no gallery at {gallery}: it has no {GALLERY_MANIFEST}; make one with "
            "`prvr-sweep gallery build MODEL SOURCE OUT.gallery`"
        ) from None
    except (OSError, ValueError) as error:
        raise GalleryError(f"cannot read {file} ({error}); build the gallery again") from error
    return _checked(values, file)


def _checked(values: object, file: Path) -> GalleryManifest:
    if not isinstance(values, Mapping) or values.get("format") != GALLERY_FORMAT:
        raise GalleryError(f"{file.parent} is not a gallery: {GALLERY_MANIFEST} is of another kind")
    if (version := values.get("format_version")) != GALLERY_VERSION:
        raise GalleryError(
            f"{file.parent} has format version {version!r}, this prvr-sweep reads version "
            f"{GALLERY_VERSION}; build the gallery again"
        )
    try:
        return GalleryManifest.model_validate(values)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, entry["loc"])) for entry in error.errors())
        raise GalleryError(f"{file} is damaged (at {places}); build the gallery again") from error


def model_of(export: Path, source: str) -> BoundModel:
    """What a gallery records of an exported model.

    Raises:
        GalleryError: A file of it cannot be read.
    """
    config, weights = (_sha256(export / name) for name in MODEL_FILES)
    header: dict[str, Any] = json.loads((export / MODEL_FILES[0]).read_bytes())
    return BoundModel(
        source=source,
        weights_sha256=weights,
        config_sha256=config,
        video_dim=header["video_dim"],
        text_dim=header["text_dim"],
    )


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise GalleryError(f"cannot read {file}: {error.strerror}") from error


def model_differences(own: BoundModel, other: BoundModel) -> list[str]:
    """What differs between two models, a line each with both values; their names do not count."""
    pairs = own.model_dump(exclude={"source"}), other.model_dump(exclude={"source"})
    return [
        f"{name}: {value} and {pairs[1][name]}"
        for name, value in pairs[0].items()
        if value != pairs[1][name]
    ]

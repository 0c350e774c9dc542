"""`prvr-sweep gallery`: makes, changes and inspects galleries."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.text import command
from orchestrator.commands.item_progress import item_progress
from orchestrator.commands.options import (
    USER_PATH,
    given_as,
    home_option,
    json_option,
    tracking_option,
)

if TYPE_CHECKING:
    from orchestrator.serving.sources import VideoSource
    from prvr_model.retrieval.gallery_format import GalleryManifest

_GALLERY = click.argument("gallery", type=USER_PATH)
_SOURCE = click.argument("source", type=USER_PATH)
_split_option = click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    default="all",
    show_default=True,
    help="Videos of a store that are taken.",
)
_recall_option = click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Recall@10 against the exact scan that an index must have over sample queries.",
)
_encoder_option = click.option(
    "--encoder",
    metavar="NAME",
    help="Encoder of a folder's videos: a folder, or its name on the Hugging Face hub. Default of "
    "a gallery that is added to: its own.",
)
_skip_broken_option = click.option(
    "--skip-broken",
    is_flag=True,
    help="Leave out videos of a folder that cannot be decoded to their end.",
)
_device_option = click.option(
    "--device", default="cpu", show_default=True, help="Device that encodes, e.g. cuda."
)


@click.group("gallery")
def gallery() -> None:
    """Make, change and inspect galleries, which answer sentences."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of `gallery build`."""

    model: str
    source: Path
    gallery: Path
    split: str
    dtype: Any
    screen: bool
    index: str | None
    recall: float
    device: str
    encoder: str | None
    fps: float
    skip_broken: bool
    home: Path
    tracking_uri: str | None


@gallery.command()
@home_option
@tracking_option
@_split_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Type of the vectors. float32 ranks exactly as evaluation does; bfloat16 takes half the "
    "bytes, and videos of nearly equal scores may change places.",
)
@click.option(
    "--screen/--no-screen",
    default=True,
    show_default=True,
    help="Keep all vectors once more, a byte a value, which a scan reads first: it takes less than "
    "half the time. Answers are the same.",
)
@click.option(
    "--index",
    type=click.Choice(["ivf"]),
    help="Make an inverted file, which scores few videos instead of all; needs the extra `index`.",
)
@_recall_option
@click.option(
    "--fps",
    type=click.FloatRange(0, 100, min_open=True),
    default=3.0,
    show_default=True,
    help="Rows a second of a folder's videos: the rate that MODEL was trained with.",
)
@_encoder_option
@_skip_broken_option
@_device_option
@click.argument("model")
@_SOURCE
@_GALLERY
@given_as(BuildOptions)
def build(options: BuildOptions) -> None:
    """Encode the videos of SOURCE with MODEL into GALLERY, a new folder.

    MODEL is models:/NAME@champion, a trial SWEEP/NUMBER, or an exported folder; SOURCE a feature
    store, or a folder of videos, which --encoder encodes.
    """
    from orchestrator.serving.building import build_gallery, index_gallery
    from orchestrator.serving.models import named_model
    from orchestrator.tracking.store import TrackingStore
    from prvr_model.retrieval.ivf import faiss

    if options.index is not None:
        faiss()  # told before hours of encoding
    features = _Features(
        options.split, options.encoder, options.fps, options.skip_broken, options.device
    )
    source = _source(options.source, features)
    tracking = TrackingStore.of(options.tracking_uri, options.home)
    with named_model(options.model, options.home, tracking) as model, _progress(source) as done:
        made = build_gallery(
            model, source, options.gallery, options.dtype, options.device, done, options.screen
        )
    if options.index is not None:
        made = index_gallery(options.gallery, options.recall, source.captions())
    _echo_gallery(options.gallery, made)
    how = ["SENTENCE"] if made.recipe else ["--tokens", "FILE"]
    ask = command("query", str(options.gallery), *how)
    click.echo(f"ask it with `{ask}`", err=True)


@dataclass(frozen=True)
class AddOptions:
    """Options of `gallery add`."""

    gallery: Path
    source: Path
    split: str
    encoder: str | None
    skip_broken: bool
    device: str


@gallery.command()
@_split_option
@_encoder_option
@_skip_broken_option
@_device_option
@_GALLERY
@_SOURCE
@given_as(AddOptions)
def add(options: AddOptions) -> None:
    """Append the videos of SOURCE to GALLERY, which goes on answering meanwhile."""
    from orchestrator.serving.building import add_to_gallery
    from prvr_model.retrieval.gallery_format import read_gallery_manifest

    recipe = read_gallery_manifest(options.gallery).recipe
    if recipe is None and _is_video_folder(options.source):
        raise click.UsageError(
            f"{options.gallery} does not say which encoder made its features, so only videos of a "
            f"feature store can be added; {options.source} is a folder of videos"
        )
    encoder = options.encoder or (recipe.encoder if recipe else None)
    # Without a recipe the source is a store, which has rows already.
    rate = recipe.frames_per_second if recipe else 1.0
    features = _Features(options.split, encoder, rate, options.skip_broken, options.device)
    source = _source(options.source, features)
    with _progress(source) as done:
        made = add_to_gallery(options.gallery, source, options.device, done)
    _echo_gallery(options.gallery, made)


@gallery.command()
@_GALLERY
@click.argument("videos", nargs=-1, required=True)
def remove(gallery: Path, videos: tuple[str, ...]) -> None:
    """Drop VIDEOS, by their names, from GALLERY, which goes on answering meanwhile."""
    from prvr_model.retrieval.gallery_writer import remove_videos

    _echo_gallery(gallery, remove_videos(gallery, videos))


@gallery.command()
@_recall_option
@_GALLERY
def index(gallery: Path, recall: float) -> None:
    """Make the inverted file of GALLERY anew, e.g. after many videos were added."""
    from orchestrator.serving.building import index_gallery

    _echo_gallery(gallery, index_gallery(gallery, recall))


@gallery.command()
@json_option
@_GALLERY
def inspect(gallery: Path, as_json: bool) -> None:
    """Show what GALLERY holds, and which model and encoder it belongs to."""
    from prvr_model.retrieval.gallery import GalleryReader

    manifest = GalleryReader.open(gallery).manifest
    if as_json:
        sums = {"videos": manifest.num_videos, "bytes": manifest.num_bytes}
        click.echo(json.dumps({**sums, **manifest.model_dump(mode="json")}))
    else:
        _echo_gallery(gallery, manifest)


@dataclass(frozen=True)
class _Features:
    """How features of a source are come by; only a folder of videos needs an encoder."""

    split: str
    encoder: str | None
    frames_per_second: float
    skip_broken: bool
    device: str


def _is_video_folder(path: Path) -> bool:
    from prvr_model.store.format import is_store

    return path.is_dir() and not is_store(path)


def _progress(source: "VideoSource") -> AbstractContextManager[Callable[[int], None]]:
    return item_progress(sys.stderr, source.num_videos, 0, ("videos", "rows"))


def _source(path: Path, features: _Features) -> "VideoSource":
    """A store, or a folder of videos."""
    from orchestrator.serving.sources import FolderSource, StoreSource

    if not _is_video_folder(path):
        return StoreSource.open(path, features.split)
    from prvr_model.extraction.videos import list_videos

    names = list_videos(path)
    if features.encoder is None:
        raise click.UsageError(
            f"{path} is a folder of videos: name the encoder of the features that the model was "
            "trained on with --encoder"
        )
    from prvr_model.extraction.encoder import FeatureEncoder

    return FolderSource(
        path,
        FeatureEncoder.load(features.encoder, features.device),
        features.frames_per_second,
        names,
        features.skip_broken,
        lambda line: click.echo(f"warning: {line}", err=True),
    )


def _echo_gallery(path: Path, manifest: "GalleryManifest") -> None:
    from prvr_model.store.format import size_text

    model, recipe = manifest.model, manifest.recipe
    click.echo(
        f"{path}: {manifest.num_videos} videos, {size_text(manifest.num_bytes)}, {manifest.dtype}"
        f"{' with a screen' if manifest.screen else ''}, revision {manifest.revision}"
    )
    click.echo(f"model: {model.source}, weights {model.weights_sha256[:12]}")
    made = (
        "not known; it answers token features only"
        if recipe is None
        else f"{recipe.encoder}, weights {recipe.weights_sha256[:12]}, "
        f"{recipe.frames_per_second:g} frames a second"
    )
    click.echo(f"encoder: {made}")
    if (index := manifest.index) is not None:
        click.echo(
            f"index: recall@10 {index.recall:.4f} against the exact scan (wanted "
            f"{index.wanted_recall:g}) over {index.queries} queries, {index.query_source}; "
            f"{index.probes} of {index.lists} lists, {100 * index.scored_share:.1f} % of the "
            "videos scored"
        )

"""Builds galleries from a model and a source of videos, and adds to them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from orchestrator.serving.gallery import Gallery
from orchestrator.serving.models import FoundModel
from orchestrator.serving.sources import VideoSource, refuse_unfit
from prvr_model.errors import GalleryError
from prvr_model.retrieval.gallery_encoding import SourceVideo, encoded_blocks, load_network
from prvr_model.retrieval.gallery_format import (
    MODEL_FOLDER,
    GalleryManifest,
    VectorType,
    model_of,
    read_gallery_manifest,
)
from prvr_model.retrieval.gallery_writer import add_videos, create_gallery
from prvr_model.retrieval.ivf import NUM_SAMPLES, SampleQueries, build_index, sample_rows
from prvr_model.store.recipe import recipe_differences

OnProgress: TypeAlias = Callable[[int], None]
"""Called after each video with its number of rows."""


def build_gallery(
    model: FoundModel,
    source: VideoSource,
    target: Path,
    dtype: VectorType,
    device: str = "cpu",
    on_progress: OnProgress = lambda rows: None,
    screen: bool = True,
) -> GalleryManifest:
    """Encode all videos of a source into a new gallery; all of it appears at once.

    Args:
        model: The model, which the gallery takes a copy of.
        source: The videos.
        target: Folder of the gallery, which must not exist.
        dtype: Type of its vectors.
        device: Device to encode on.
        on_progress: Called after each video.
        screen: Keep all vectors once more, a byte a value: a scan takes less time.

    Raises:
        GalleryError: Model and source do not fit, or the gallery exists or cannot be written.
        DataError: A video cannot be read.
    """
    network = load_network(model.export, device)
    refuse_unfit(source, (network.video_dim, network.text_dim), f"the model {model.source}")
    manifest = GalleryManifest(
        dtype=dtype,
        hidden=network.settings.hidden_size,
        num_clips=network.settings.num_clips,
        num_frames=network.settings.num_frames,
        model=model_of(model.export, model.source),
        recipe=source.recipe,
        screen=screen,
    )
    blocks = encoded_blocks(network, _told(source, on_progress))
    return create_gallery(target, manifest, model.export, blocks)


def add_to_gallery(
    path: Path,
    source: VideoSource,
    device: str = "cpu",
    on_progress: OnProgress = lambda rows: None,
) -> GalleryManifest:
    """Encode all videos of a source with the gallery's own model, and append them.

    Raises:
        GalleryError: The source's features were made in another way than the gallery's, a video is
            in the gallery already, or it cannot be written.
        DataError: A video cannot be read.
    """
    manifest = read_gallery_manifest(path)
    network = load_network(path / MODEL_FOLDER, device)
    refuse_unfit(source, (network.video_dim, network.text_dim), f"the model of {path}")
    if differences := recipe_differences(manifest.recipe, source.recipe):
        raise GalleryError(
            f"features of {path} and of {source.place} were made in different ways: "
            f"{'; '.join(differences)}"
        )
    return add_videos(path, encoded_blocks(network, _told(source, on_progress)))


def index_gallery(
    path: Path, recall: float, captions: Sequence[np.ndarray] = ()
) -> GalleryManifest:
    """Make a gallery's inverted file, or make it anew.

    Args:
        path: Folder of the gallery.
        recall: Recall@10 against the exact scan that it must have over the sample queries.
        captions: Token features of captions, some of which are the sample queries; none: rows of
            the gallery are.

    Raises:
        GalleryError: faiss is missing, or the gallery is empty or cannot be written.
    """
    gallery = Gallery.open(path, exact=True)
    if not captions:
        return build_index(path, sample_rows(gallery.reader), recall)
    # Evenly spread: captions of one video lie side by side.
    step = max(1, len(captions) // NUM_SAMPLES)
    vectors = gallery.embed_tokens(captions[::step][:NUM_SAMPLES])
    samples = SampleQueries(vectors, "captions of the source")
    return build_index(path, samples, recall)


def _told(source: VideoSource, on_progress: OnProgress) -> Iterator[SourceVideo]:
    for video in source.videos():
        yield video
        on_progress(len(video.features))

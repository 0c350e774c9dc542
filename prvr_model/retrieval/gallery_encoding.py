"""Encodes videos into what a gallery holds: unit vectors of clips and frames, and times."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.errors import GalleryError
from prvr_model.inputs.raw_videos import video_inputs
from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.network.model_file import load_exported
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval.evaluation import ENCODING_BLOCK
from prvr_model.retrieval.moments import FrameTimes, frame_times


@dataclass(frozen=True)
class SourceVideo:
    """A video as it comes to a gallery.

    Args:
        name: Its name, unique in a gallery.
        features: Its rows, not normalised, any float type.
        duration_s: Its length in seconds; NaN: not known.
        thumbnail: A JPEG file; None: there is none.
    """

    name: str
    features: Float[np.ndarray, "_ dim"]
    duration_s: float = float("nan")
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class EncodedBlock:
    """Some videos, encoded; rows of the vectors have norm 1."""

    names: Sequence[str]
    durations_s: Float[np.ndarray, "videos"]
    times: FrameTimes
    clip_of_frame: Int[np.ndarray, "videos frames"]
    thumbnails: Sequence[bytes | None]
    vectors: EncodedVideos


def load_network(export: Path, device: str) -> MscModel:
    """An exported model in evaluation mode.

    Raises:
        CheckpointError: Files are missing or damaged.
    """
    return load_exported(export).build(torch.device(device))


def encoded_blocks(model: MscModel, videos: Iterable[SourceVideo]) -> Iterator[EncodedBlock]:
    """Encode videos as evaluation does: in its blocks, so that every bit is the same.

    Args:
        model: The model, in evaluation mode.
        videos: Read a block at a time.

    Raises:
        GalleryError: A video has no rows, rows of another dimension than the model's, or vectors
            that are not finite.
    """
    remaining = iter(videos)
    while block := list(islice(remaining, ENCODING_BLOCK)):
        yield _encoded(model, block)


@torch.no_grad()
def _encoded(model: MscModel, videos: Sequence[SourceVideo]) -> EncodedBlock:
    for video in videos:
        if video.features.ndim != 2 or not len(video.features):
            raise GalleryError(f"video {video.name!r}: has no rows of features")
        if (dim := video.features.shape[1]) != model.video_dim:
            raise GalleryError(
                f"video {video.name!r}: its rows have {dim} values, the model takes "
                f"{model.video_dim}"
            )
    inputs = video_inputs([video.features for video in videos], model.settings)
    device = model.mixing_token.device
    tensors = (
        torch.from_numpy(array).to(device)
        for array in (inputs.frames, inputs.clips, inputs.clip_sizes)
    )
    encoded = model.encode_videos(*tensors)
    vectors = EncodedVideos(unit_rows(encoded.clips).cpu(), unit_rows(encoded.frames).cpu())
    _refuse_non_finite(videos, vectors)
    durations = np.array([video.duration_s for video in videos])
    num_rows = np.array([len(video.features) for video in videos])
    return EncodedBlock(
        names=[video.name for video in videos],
        durations_s=durations,
        times=frame_times(num_rows, model.settings.num_frames, durations),
        clip_of_frame=inputs.frame_to_clip,
        thumbnails=[video.thumbnail for video in videos],
        vectors=vectors,
    )


def _refuse_non_finite(videos: Sequence[SourceVideo], vectors: EncodedVideos) -> None:
    is_finite = _finite(vectors.clips) & _finite(vectors.frames)
    if not is_finite.all():
        names = [video.name for video, fine in zip(videos, is_finite.tolist(), strict=True)]
        first = names[int((~is_finite).nonzero()[0])]
        raise GalleryError(
            f"video {first!r}: its vectors are not finite; check its features, and the model's "
            "weights"
        )


def _finite(rows: Float[Tensor, "videos rows hidden"]) -> Tensor:
    return rows.isfinite().all(dim=2).all(dim=1)

"""Evaluation of a model on a split: scores of both branches, fused, ranks and recalls.

Source: METHOD, scores and the task.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.batching import caption_blocks, pad_tokens, video_blocks
from prvr_model.checkpoint import load_best
from prvr_model.dataset import PreparedSplit, prepare_split
from prvr_model.feature_store import FeatureStore, StoreSplit
from prvr_model.metrics import (
    Relevance,
    best_ranks,
    recalls,
    relevance_of_same_text,
    single_relevance,
)
from prvr_model.model import EncodedVideos, MscModel
from prvr_model.settings import EvaluationSettings, ModelSettings, SpeedSettings
from prvr_model.similarity import score_cosine, unit_rows
from prvr_model.storage import Folder

# Videos encoded at once.
_ENCODING_BLOCK = 64
# Similarities of one block of scores: 64 MiB in float32.
_BLOCK_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a split.

    Args:
        metrics: `R1`, `R5`, `R10`, `R100`, `SumR` of the fused scores, and the same below
            `clip/` and `frame/`; percent.
        ranks: Fused rank of each caption's best correct video, from 1.
    """

    metrics: dict[str, float]
    ranks: Int[np.ndarray, "captions"]


def build_relevance(split: StoreSplit, settings: EvaluationSettings) -> Relevance:
    """Correct videos of each caption of a split."""
    owners = torch.from_numpy(np.array(split.caption_video))
    if settings.relevance == "annotation":
        return single_relevance(owners)
    _, text_ids = np.unique(np.asarray(split.caption_texts), return_inverse=True)
    return relevance_of_same_text(owners, torch.from_numpy(text_ids.astype(np.int64)))


@torch.no_grad()
def evaluate(
    model: MscModel, split: PreparedSplit, relevance: Relevance, speed: SpeedSettings
) -> Evaluation:
    """Rank all videos of the split for each of its captions.

    The gallery is encoded once; captions pass in blocks, and only ranks are kept of their scores.
    """
    was_training = model.training
    model.eval()
    gallery = _encode_gallery(model, split)
    blocks = [
        _rank_block(model, split, gallery, relevance, rows)
        for rows in caption_blocks(split, speed.evaluation_block)
    ]
    model.train(was_training)
    ranks = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    metrics = recalls(ranks["fused"])
    for branch in ("clip", "frame"):
        found = recalls(ranks[branch])
        metrics.update({f"{branch}/{name}": value for name, value in found.items()})
    return Evaluation(metrics, ranks["fused"].numpy().astype(np.int32))


def evaluate_checkpoint(
    folder: Folder, store: FeatureStore, split: str, speed: SpeedSettings
) -> Evaluation:
    """Evaluate a trial's best epoch on any split of its store."""
    # Sums are split by thread: as many as in training, or the last bits differ.
    torch.set_num_threads(speed.threads)
    saved = load_best(folder)
    return evaluate(
        saved.build(torch.device(speed.device)),
        prepare_split(store, split, saved.settings),
        build_relevance(store.split(split), saved.settings.evaluation),
        speed,
    )


def _encode_gallery(model: MscModel, split: PreparedSplit) -> EncodedVideos:
    """Both encodings of every video, rows of norm 1."""
    device = model.mixing_token.device
    clips, frames = [], []
    for rows in video_blocks(split, _ENCODING_BLOCK):
        parts = (split.frames[rows], split.clips[rows], split.clip_sizes[rows])
        encoded = model.encode_videos(*(torch.from_numpy(np.array(p)).to(device) for p in parts))
        clips.append(unit_rows(encoded.clips))
        frames.append(unit_rows(encoded.frames))
    return EncodedVideos(torch.cat(clips), torch.cat(frames))


def _rank_block(
    model: MscModel,
    split: PreparedSplit,
    gallery: EncodedVideos,
    relevance: Relevance,
    rows: slice,
) -> dict[str, Int[Tensor, "captions"]]:
    device = model.mixing_token.device
    tokens = pad_tokens(split, np.arange(rows.start, rows.stop), device)
    queries = unit_rows(model.encode_captions(tokens.features, tokens.valid))
    scores = gallery_scores(queries, gallery, model.settings)
    correct = relevance.block(rows)
    on_device = Relevance(correct.videos.to(device))
    return {name: best_ranks(one, on_device).cpu() for name, one in scores.items()}


def gallery_scores(
    unit_queries: Float[Tensor, "captions hidden"], gallery: EncodedVideos, settings: ModelSettings
) -> dict[str, Float[Tensor, "captions videos"]]:
    """Clip, frame and fused scores of queries against a gallery, all of norm 1."""
    clip = _scores_in_blocks(unit_queries, gallery.clips)
    frame = _scores_in_blocks(unit_queries, gallery.frames)
    fused = settings.clip_score_weight * clip + settings.frame_score_weight * frame
    return {"clip": clip, "frame": frame, "fused": fused}


def _scores_in_blocks(
    unit_queries: Float[Tensor, "captions hidden"], unit_videos: Float[Tensor, "videos rows hidden"]
) -> Float[Tensor, "captions videos"]:
    """Scores a block of videos at a time: memory does not grow with the gallery."""
    block = max(1, _BLOCK_ELEMENTS // (len(unit_queries) * unit_videos.shape[1]))
    parts = [score_cosine(unit_queries, videos) for videos in unit_videos.split(block)]
    return torch.cat(parts, dim=1)

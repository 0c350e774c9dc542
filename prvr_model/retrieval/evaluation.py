"""Evaluation of a model on a split: scores of both branches, ranks, recalls, collapse.

Source: the MSC paper, scores and the task.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.inputs.batching import blocks_of, pad_tokens
from prvr_model.inputs.prepared_split import PreparedSplit, prepare_split
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.network.model_file import ModelFile
from prvr_model.network.similarity import unit_rows
from prvr_model.process_group import ALONE, Shards, Workers
from prvr_model.reporting import CLIP, FRAME, MAP, NDCG, OWN, RANKS, VERIFIED, beside_name
from prvr_model.retrieval.collapse import GroupSums, rank_correlation, similarity_metrics
from prvr_model.retrieval.frozen import Form, ranks_of_scores, score_blocks
from prvr_model.retrieval.metrics import (
    CorrectRanks,
    Relevance,
    best_ranks,
    best_ranks_of_workers,
    correct_ranks,
    recalls,
    single_relevance,
)
from prvr_model.retrieval.moment_evaluation import MomentOutcomes, moment_outcomes
from prvr_model.retrieval.relevance import build_relevance, verified_relevance
from prvr_model.settings import ModelSettings, SpeedSettings
from prvr_model.store.reader import FeatureStore, StoreSplit

ENCODING_BLOCK = 64
"""Videos encoded at once; other blocks may change the last bits."""
# Similarities of one block of scores. On a processor the block should stay in its cache between
# the product and the maximum (16 MiB); an accelerator wants few large products.
_BLOCK_ELEMENTS = {"cpu": 1 << 22}
_ACCELERATOR_BLOCK_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a split.

    Args:
        metrics: `R1`, `R5`, `R10`, `R100`, `SumR` of the fused scores, and the same below
            `clip/` and `frame/`, percent; where the split has verified labels also below
            `verified/`, with `nDCG10` and `mAP`, and below `own/` where the first are not those of
            own videos; below `collapse/` the diagnostics of `collapse_metrics`.
        ranks: Fused rank of each caption's best correct video, from 1.
        moments: How windows meet known moments; None where none are known, or nobody asked.
        verified: Fused ranks of all videos that verified labels name; None where there are none.
        branches: Rank of each caption's best correct video by `clip` and `frame` alone.
    """

    metrics: dict[str, float]
    ranks: Int[np.ndarray, "captions"]
    moments: MomentOutcomes | None = None
    verified: CorrectRanks | None = None
    branches: Mapping[str, Int[np.ndarray, "captions"]] = field(default_factory=dict)

    @property
    def kept(self) -> dict[str, np.ndarray]:
        """What is kept of each caption, int32 ranks and float32 percentages, by name."""
        found = {RANKS: self.ranks, **self.branches}
        if self.verified is not None:
            found[VERIFIED] = self.verified.best.numpy().astype(np.int32)
            shares = {NDCG: self.verified.ndcg(), MAP: self.verified.average_precisions()}
            for name, share in shares.items():
                found[beside_name(name)] = (100 * share).numpy().astype(np.float32)
        return found


@torch.no_grad()
def evaluate(
    model: MscModel,
    split: PreparedSplit,
    relevance: Relevance,
    speed: SpeedSettings,
    encoders: Encoders | None = None,
    workers: Workers = ALONE,
) -> Evaluation:
    """Rank all videos of the split for each of its captions.

    Gallery and captions are encoded once; scores are computed in blocks, of which only ranks are
    kept. Several workers encode a part each and score all captions against their own videos; all
    of them return the same.

    Args:
        model: The model; its mode is restored afterwards.
        split: Videos and captions.
        relevance: Correct videos of each caption.
        speed: Block of captions, and how the model encodes if `encoders` is None.
        encoders: The model's encoders, if the caller has them already.
        workers: The processes that evaluate together.
    """
    part = _Part.of(split, workers)
    encoded = _encode(encoders or Encoders(model, speed), split, part, speed.evaluation_block)
    return _evaluation(encoded, split, relevance, model.settings, speed.evaluation_block, part)


def _encode(
    encoders: Encoders, split: PreparedSplit, part: "_Part", block: int
) -> tuple[Float[Tensor, "captions hidden"], EncodedVideos]:
    """Query vectors of all captions and the encodings of this worker's videos, of norm 1."""
    was_training = encoders.model.training
    encoders.model.eval()
    gallery = _encode_gallery(encoders, split, part.own_videos)
    own = _encode_captions(encoders, split, part.own_captions, block)
    encoders.model.train(was_training)
    return part.workers.all_rows(own, part.captions), gallery


_BRANCHES = (CLIP, FRAME)


# Six, and all of them are needed: what is scored, against what, how, and by whom.
def _evaluation(
    encoded: tuple[Float[Tensor, "captions hidden"], EncodedVideos],
    split: PreparedSplit,
    relevance: Relevance,
    settings: ModelSettings,
    block: int,
    part: "_Part",
) -> Evaluation:
    queries, gallery = encoded
    ranks = rank_gallery(queries, gallery, relevance, settings, block, part.workers, part.videos)
    verified = CorrectRanks(ranks[VERIFIED]) if VERIFIED in ranks else None
    metrics = {**rank_metrics(ranks), **collapse_metrics(split, queries, gallery, part)}
    fused, *branches = (ranks[name].numpy().astype(np.int32) for name in ("fused", *_BRANCHES))
    by_branch = dict(zip(_BRANCHES, branches, strict=True))
    return Evaluation(metrics, fused, verified=verified, branches=by_branch)


@dataclass(frozen=True)
class _Part:
    """What one worker evaluates."""

    workers: Workers
    videos: Shards
    captions: Shards

    @classmethod
    def of(cls, split: PreparedSplit, workers: Workers) -> "_Part":
        sizes = (split.num_videos, split.num_captions)
        return cls(workers, *(Shards.even(size, workers.size) for size in sizes))

    @property
    def own_videos(self) -> slice:
        return self.videos.rows(self.workers.rank)

    @property
    def own_captions(self) -> slice:
        return self.captions.rows(self.workers.rank)


@torch.no_grad()
def evaluate_saved(
    saved: ModelFile,
    store: FeatureStore,
    split: str,
    speed: SpeedSettings,
    scratch: Path | None = None,
) -> Evaluation:
    """Evaluate a model on any split of a store of its dimensions.

    Never compiled: that takes longer than to encode once. Windows are compared with the moments of
    the split, and all videos of verified labels are ranked, where it has any.

    Args:
        saved: The model.
        store: The store.
        split: Name of the split.
        speed: Device, threads, precision and block of captions.
        scratch: Folder for prepared features that the store lacks; None: beside the store.
    """
    # Sums are split by thread: with another number than in training the last bits differ.
    torch.set_num_threads(speed.threads)
    own_split = store.split(split)
    model, block = saved.build(torch.device(speed.device)), speed.evaluation_block
    prepared = prepare_split(store, split, saved.settings, scratch)
    part = _Part.of(prepared, ALONE)
    speed = speed.model_copy(update={"compile": False})
    encoded = _encode(Encoders(model, speed), prepared, part, block)
    relevance = build_relevance(own_split, saved.settings.evaluation)
    evaluation = _evaluation(encoded, prepared, relevance, model.settings, block, part)
    if not any(own_split.moments):
        return evaluation
    # Moments are known of a caption's own video alone.
    owners = single_relevance(torch.from_numpy(np.array(own_split.caption_video)))
    ranks = rank_gallery(*encoded, owners, model.settings, block)["fused"].numpy()
    moments = moment_outcomes(own_split, prepared, encoded, ranks, store.manifest.seconds_per_row)
    return replace(evaluation, moments=moments)


def evaluate_frozen(split: StoreSplit, form: Form) -> Evaluation:
    """Evaluate a split's own features, whose two dimensions agree, without any model.

    Relevance is the annotation's; all videos of verified labels are ranked, where there are any.
    """
    owners = np.asarray(split.caption_video)[:, None]
    labels = verified_relevance(split) if split.has_labels else None
    ranks, verified = [], []
    for rows, scores in score_blocks(split, form):
        ranks.append(ranks_of_scores(scores, owners[rows]))
        if labels is not None:
            verified.append(correct_ranks(torch.from_numpy(scores), labels.block(rows)).ranks)
    found = np.concatenate(ranks).astype(np.int32)
    metrics = recalls(torch.from_numpy(found))
    correct = CorrectRanks(torch.cat(verified)) if verified else None
    if correct is not None:
        metrics |= _below(VERIFIED, correct.metrics())
    return Evaluation(metrics, found, verified=correct)


def _encode_gallery(encoders: Encoders, split: PreparedSplit, videos: slice) -> EncodedVideos:
    """Both encodings of some videos, rows of norm 1."""
    token, settings = encoders.model.mixing_token, encoders.model.settings
    # Filled in place: joining parts at the end would hold the gallery twice.
    clips, frames = (
        token.new_empty((videos.stop - videos.start, rows, settings.hidden_size))
        for rows in (settings.num_clips, settings.num_frames)
    )
    for rows in blocks_of(videos, ENCODING_BLOCK):
        parts = (split.frames[rows], split.clips[rows], split.clip_sizes[rows])
        encoded = encoders.videos(*(_on_device(part, token.device) for part in parts))
        places = slice(rows.start - videos.start, rows.stop - videos.start)
        clips[places] = unit_rows(encoded.clips)
        frames[places] = unit_rows(encoded.frames)
    return EncodedVideos(clips, frames)


def _encode_captions(
    encoders: Encoders, split: PreparedSplit, captions: slice, block: int
) -> Float[Tensor, "captions hidden"]:
    """Query vectors of some captions, of norm 1."""
    token, settings = encoders.model.mixing_token, encoders.model.settings
    parts = [token.new_empty((0, settings.hidden_size))]
    for rows in blocks_of(captions, block):
        tokens = pad_tokens(split, np.arange(rows.start, rows.stop), encoders.device)
        parts.append(unit_rows(encoders.captions(tokens.features, tokens.valid)))
    return torch.cat(parts)


def _on_device(array: np.ndarray, device: torch.device) -> Tensor:
    # A copy: the array is mapped read-only, and torch wants memory that it may write.
    return torch.from_numpy(np.array(array)).to(device)


# Seven: the last two are the group of processes and its share of the gallery, with defaults.
@torch.no_grad()
def rank_gallery(
    unit_queries: Float[Tensor, "captions hidden"],
    gallery: EncodedVideos,
    relevance: Relevance,
    settings: ModelSettings,
    block: int,
    workers: Workers = ALONE,
    videos: Shards | None = None,
) -> dict[str, Int[Tensor, "captions"]]:
    """Rank of each caption's best correct video by clip, frame and fused scores, on the host.

    Beside them, by its name, the fused ranks of all videos of each other relevance, see
    `CorrectRanks`.

    Args:
        unit_queries: Query vectors, rows of norm 1.
        gallery: Encoded videos, rows of norm 1.
        relevance: Correct videos of each caption.
        settings: Weights of the fused score.
        block: Captions scored at once.
        workers: The processes that rank together, each with its own part of the gallery.
        videos: How the gallery is spread over them; None if `gallery` is all of it.
    """
    names = (*_BRANCHES, "fused", *relevance.beside)
    ranks: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, len(unit_queries), block):
        rows = slice(start, start + block)
        correct = relevance.block(rows).to(unit_queries.device)
        scores_of_all = gallery_scores(unit_queries[rows], gallery, settings)
        for name, scores in scores_of_all.items():
            found = (
                best_ranks(scores, correct)
                if videos is None or workers.size == 1
                else best_ranks_of_workers(scores, correct, workers, videos)
            )
            ranks[name].append(found)
        for name, other in correct.beside.items():
            every = correct_ranks(scores_of_all["fused"], other, workers, videos)
            ranks[name].append(every.ranks)
    return {name: torch.cat(parts).cpu() for name, parts in ranks.items()}


def rank_metrics(ranks: Mapping[str, Int[Tensor, "captions ..."]]) -> dict[str, float]:
    """Recalls of the ranks of `rank_gallery`: of `fused` without a prefix, others below a name.

    Below `verified` there are nDCG and mAP as well.
    """
    metrics = recalls(ranks["fused"])
    for branch in _BRANCHES:
        metrics |= _below(branch, recalls(ranks[branch]))
    if OWN in ranks:
        metrics |= _below(OWN, recalls(CorrectRanks(ranks[OWN]).best))
    if VERIFIED in ranks:
        metrics |= _below(VERIFIED, CorrectRanks(ranks[VERIFIED]).metrics())
    return metrics


def _below(name: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}/{metric}": value for metric, value in metrics.items()}


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
    """Largest cosine over each video's rows, a block of videos at a time in one buffer.

    Memory does not grow with the gallery, and no block's products are allocated anew.
    """
    num_queries, num_rows = len(unit_queries), unit_videos.shape[1]
    elements = _block_elements(unit_queries.device)
    block = max(1, min(len(unit_videos), elements // (num_queries * num_rows)))
    buffer = unit_queries.new_empty(num_queries * block * num_rows)
    scores = unit_queries.new_empty((num_queries, len(unit_videos)))
    for start in range(0, len(unit_videos), block):
        videos = unit_videos[start : start + block]
        # A view of the buffer that is contiguous also for the last, smaller block.
        products = buffer[: num_queries * len(videos) * num_rows].view(num_queries, -1)
        torch.mm(unit_queries, videos.flatten(0, 1).T, out=products)
        torch.amax(
            products.unflatten(1, videos.shape[:2]), dim=2, out=scores[:, start : start + block]
        )
    return scores


def _block_elements(device: torch.device) -> int:
    return _BLOCK_ELEMENTS.get(device.type, _ACCELERATOR_BLOCK_ELEMENTS)


@torch.no_grad()
def collapse_metrics(
    split: PreparedSplit,
    unit_queries: Float[Tensor, "captions hidden"],
    gallery: EncodedVideos,
    part: "_Part | None" = None,
) -> dict[str, float]:
    """Collapse diagnostics, in names below `collapse/`.

    `query_*` and `clip_*` are mean similarities of learned vectors (see `similarity_metrics`),
    `teacher_query_*` and `teacher_clip_*` those of the foundation model's sentence vectors and
    input clips, which no training changes; `query_spearman` is the rank correlation of the
    learned with the teacher's query similarities. A metric that is undefined on the split is left
    out. `gallery` holds the videos of `part`; None: of the whole split.
    """
    part = part or _Part.of(split, ALONE)
    device = unit_queries.device
    teacher = unit_rows(_on_device(split.tokens[split.token_offsets[1:] - 1], device))
    owners = _on_device(split.caption_video, device)
    kinds = {
        "query": GroupSums.of_rows(unit_queries, owners, split.num_videos),
        "clip": _all(gallery.clips.split(ENCODING_BLOCK), part),
        "teacher_query": GroupSums.of_rows(teacher, owners, split.num_videos),
        "teacher_clip": _all(_input_clips(split, part.own_videos, device), part),
    }
    found: dict[str, float] = {}
    for kind, sums in kinds.items():
        found.update(similarity_metrics(kind, sums))
    correlation = rank_correlation(unit_queries, teacher)
    if correlation is not None:
        found["query_spearman"] = correlation
    return {f"collapse/{name}": value for name, value in found.items()}


def _all(blocks: Iterable[Float[Tensor, "_ rows dim"]], part: _Part) -> GroupSums:
    """Sums of all workers' videos, given this worker's in blocks."""
    return GroupSums.of_blocks(blocks).of_all(part.workers, part.videos)


def _input_clips(
    split: PreparedSplit, videos: slice, device: torch.device
) -> Iterator[Float[Tensor, "videos clips dim"]]:
    """The model's input clips, rows of norm 1, some videos at a time; one empty block for none."""
    for rows in [*blocks_of(videos, ENCODING_BLOCK)] or [videos]:
        yield unit_rows(_on_device(split.clips[rows], device))

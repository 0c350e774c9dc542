"""Checks the implementation against a file of reference values.

`python -m tests.reference_conformance FILE.npz` prints one line per group with the largest
relative error and exits with 1 on a miss. All sizes are read from the file.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from prvr_model.inputs.batching import Batch
from prvr_model.inputs.resampling import normalise_rows, resample
from prvr_model.inputs.token_merging import (
    choose_levels,
    connectivity,
    merge_neighbours,
)
from prvr_model.losses.objective import BranchDraws, LossTerms, compute_losses
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.model import MscModel
from prvr_model.network.released_weights import our_name, renamed_weights
from prvr_model.network.similarity import score_both
from prvr_model.retrieval.metrics import best_ranks, recalls, single_relevance
from prvr_model.settings import Settings, build_settings
from prvr_model.training.optimizer import BertAdam
from tests.prvr_model.clip_segments import segment_plans, spanning_tree_weights

# Relative tolerances of the reference's README.
OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
# Gradient norms below this are zeros up to rounding.
GRADIENT_FLOOR = 1e-6
# A file's weights are initial ones, moved by N(0, 0.02) so that no bias or norm is without effect;
# of a mixing token there are few. The released distributions differ from others by factors.
SPREAD_TOLERANCE = math.log(2)
CONSTANT_TOLERANCE = 0.05


@dataclass(frozen=True)
class GroupResult:
    """Largest relative error of a group and what is allowed."""

    group: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Reference:
    """A reference file, with what our implementation makes of its inputs."""

    values: Mapping[str, np.ndarray]
    settings: Settings
    model: MscModel
    batch: Batch
    prepared: Mapping[str, np.ndarray]
    total_steps: int

    def state(self) -> dict[str, torch.Tensor]:
        """Weights by released name."""
        prefix = "state/"
        return {
            key.removeprefix(prefix): torch.from_numpy(value)
            for key, value in self.values.items()
            if key.startswith(prefix)
        }


def read_reference(path: Path) -> Reference:
    """Read a file, prepare its inputs and load its weights."""
    with np.load(path, allow_pickle=False) as file:
        values = {key: file[key] for key in file.files}
    config = json.loads(str(values["config/json"]))
    settings = settings_of(config)
    prepared = prepare(values, settings)
    batch = build_batch(values, prepared, settings)
    model = MscModel(
        settings.model,
        config["model"]["visual_input_size"],
        config["model"]["query_input_size"],
    )
    reference = Reference(values, settings, model, batch, prepared, config["optimizer"]["t_total"])
    model.load_state_dict(renamed_weights(model, reference.state(), str(path)))
    return reference


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Our settings for a file's configuration; dropout is off."""
    model, loss, optimizer = config["model"], config["loss"], config["optimizer"]
    return build_settings(
        None,
        {
            "model.hidden_size": model["hidden_size"],
            "model.num_heads": model["n_heads"],
            "model.num_frames": model["max_ctx_l"],
            "model.max_caption_tokens": model["max_desc_l"],
            "model.mixing_temperature": model["sft_factor"],
            "model.dropout": 0.0,
            "model.input_dropout": 0.0,
            "model.initializer_std": model.get("initializer_range", 0.02),
            "losses.infonce_clip_weight": loss["loss_factor"][0],
            "losses.infonce_frame_weight": loss["loss_factor"][1],
            "losses.margin": loss["margin"],
            "losses.hard_negative_pool": loss["hard_pool_size"],
            "losses.tcpl_distance_weight": loss["rkd_d_coef"],
            "losses.tcpl_angle_weight": loss["rkd_a_coef"],
            "losses.cbva_weight": loss["vl_coef"],
            "losses.tau": model["sim_thr"],
            "optimizer.learning_rate": optimizer["lr"],
            "optimizer.weight_decay": optimizer["weight_decay"],
            "optimizer.warmup_share": optimizer["warmup"],
        },
    )


def prepare(values: Mapping[str, np.ndarray], settings: Settings) -> dict[str, np.ndarray]:
    """Frames, clips, sizes, maps, tree weights and segments of all videos, in file order."""
    num_videos = len([key for key in values if re.fullmatch(r"raw/video\d+/frames", key)])
    raw = resample(
        [values[f"raw/video{video}/frames"] for video in range(num_videos)],
        settings.model.num_frames,
    )
    merged = merge_neighbours(raw, settings.model.merge_targets)
    clips = normalise_rows(merged.features)
    tree = spanning_tree_weights(clips)
    levels = settings.segment_levels
    chosen = choose_levels(tree, settings.losses.tau, len(levels))
    plans = segment_plans(clips, merged.sizes, levels)
    return {
        "clip_features": clips,
        "frame_features": normalise_rows(raw),
        "segment_sizes": merged.sizes,
        "frame_to_segment": merged.frame_to_clip,
        "tree": tree,
        "segment_of_clip": plans[np.arange(num_videos), chosen],
    }


def captions_of(values: Mapping[str, np.ndarray], video: int) -> list[np.ndarray]:
    """Raw caption features of a video, in their order."""
    pattern = re.compile(rf"raw/video{video}/caption(\d+)")
    found = {int(match[1]): key for key in values if (match := pattern.fullmatch(key))}
    return [values[found[number]] for number in sorted(found)]


def build_batch(
    values: Mapping[str, np.ndarray], prepared: Mapping[str, np.ndarray], settings: Settings
) -> Batch:
    """The file's batch: videos in its order, captions following their video."""
    order = values["batch/video_order"]
    captions = [
        normalise_rows(rows)[: settings.model.max_caption_tokens]
        for video in order
        for rows in captions_of(values, int(video))
    ]
    length = max(len(rows) for rows in captions)
    tokens = np.zeros((len(captions), length, captions[0].shape[1]), np.float32)
    for row, features in enumerate(captions):
        tokens[row, : len(features)] = features
    counts = np.array([len(rows) for rows in captions])

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(prepared[name][order])

    return Batch(
        frames=tensor("frame_features"),
        clips=tensor("clip_features"),
        clip_sizes=tensor("segment_sizes"),
        frame_to_clip=tensor("frame_to_segment"),
        segment_of_clip=tensor("segment_of_clip"),
        tokens=torch.from_numpy(tokens),
        tokens_valid=torch.from_numpy(np.arange(length) < counts[:, None]),
        teacher=torch.from_numpy(np.stack([rows[-1] for rows in captions])),
        video_of_caption=torch.from_numpy(values["batch/text_labels"]),
    )


def relative_error(ours: Any, wanted: Any, floor: float = 1e-12) -> float:  # noqa: ANN401
    """Largest absolute difference over the largest magnitude wanted; infinite for NaN or shape."""
    ours, wanted = np.asarray(ours, np.float64), np.asarray(wanted, np.float64)
    if ours.shape != wanted.shape or np.isnan(ours).any():
        return float("inf")
    return float(np.abs(ours - wanted).max() / max(np.abs(wanted).max(), floor))


def check(path: Path) -> Iterator[GroupResult]:
    """Every group of a file, in the order of the computation."""
    reference = read_reference(path)
    yield from check_initial_weights(reference)
    yield from check_preparation(reference)
    yield from check_forward(reference)
    yield from check_training(reference)
    yield check_metrics(reference)


def check_initial_weights(reference: Reference) -> Iterator[GroupResult]:
    """The distributions from which weights start: their spread, and the constants.

    The file's weights are compared with those of a new model of the file's settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        new = MscModel(
            reference.settings.model, reference.model.video_dim, reference.model.text_dim
        )
    spreads, constants = [0.0], [0.0]
    wanted = renamed_weights(new, reference.state(), "the file")
    for name, ours in new.state_dict().items():
        theirs = wanted[name]
        if ours.numel() > 1 and ours.std() > 0:
            spreads.append(abs(math.log(float(theirs.std() / ours.std()))))
        else:
            constants.append(abs(float(theirs.mean() - ours.mean())))
    yield GroupResult("initial/spread", max(spreads), SPREAD_TOLERANCE)
    yield GroupResult("initial/constants", max(constants), CONSTANT_TOLERANCE)


def check_preparation(reference: Reference) -> Iterator[GroupResult]:
    values, prepared = reference.values, reference.prepared
    for name in ("clip_features", "frame_features", "segment_sizes", "frame_to_segment"):
        wanted = np.stack(
            [values[f"prep/video{video}/{name}"] for video in range(len(prepared[name]))]
        )
        exact = name in ("segment_sizes", "frame_to_segment")
        error = relative_error(prepared[name], wanted)
        yield GroupResult(f"prep/{name}", error, 0.0 if exact else OUTPUT_TOLERANCE)


def check_forward(reference: Reference) -> Iterator[GroupResult]:
    model, batch, values = reference.model.eval(), reference.batch, reference.values
    with torch.no_grad():
        videos = model.encode_videos(batch.frames, batch.clips, batch.clip_sizes)
        queries = model.encode_captions(batch.tokens, batch.tokens_valid)
        clip, frame = score_both(queries, videos.clips), score_both(queries, videos.frames)
        outputs = {
            "encoded_clips": videos.clips,
            "encoded_frames": videos.frames,
            "query": queries,
            "teacher_query": batch.teacher,
            "clip_scores": clip.cosine,
            "clip_scores_unnormalized": clip.product,
            "frame_scores": frame.cosine,
            "frame_scores_unnormalized": frame.product,
            "projected_clips": model.align(videos.clips),
            "projected_frames": model.align(videos.frames),
        }
    for name, ours in outputs.items():
        error = relative_error(ours, values[f"out/{name}"])
        yield GroupResult(f"out/{name}", error, OUTPUT_TOLERANCE)
    omega = connectivity(reference.prepared["tree"], reference.settings.losses.tau)
    error = relative_error(omega[values["batch/video_order"]], values["out/connectivity"])
    yield GroupResult("out/connectivity", error, OUTPUT_TOLERANCE)


def check_training(reference: Reference) -> Iterator[GroupResult]:
    model, values = reference.model, reference.values
    terms = losses(reference)
    for name, ours in released_terms(reference, terms).items():
        error = relative_error(ours, values[f"loss/{name}"])
        yield GroupResult(f"loss/{name}", error, OUTPUT_TOLERANCE)
    terms.total.backward()
    errors = [
        gradient_error(dict(model.named_parameters())[our_name(name) or ""], wanted)
        for name, wanted in group(values, "grad_norm/").items()
    ]
    yield GroupResult("grad_norm", max(errors), GRADIENT_TOLERANCE)
    yield from check_steps(reference)


def losses(reference: Reference) -> LossTerms:
    """Loss terms with the hardest negatives, dropout off."""
    batch = reference.batch
    draws = NegativeDraws(torch.zeros(len(batch.video_of_caption)), torch.zeros(len(batch.frames)))
    return compute_losses(
        reference.model.eval(),
        batch,
        reference.settings.losses,
        BranchDraws(draws, draws),
        hard_negatives=True,
    )


def released_terms(reference: Reference, terms: LossTerms) -> dict[str, float]:
    """Our terms under the names of the file."""
    named = {
        "clip_nce": terms.clip_infonce,
        "clip_trip": terms.clip_triplet,
        "frame_nce": terms.frame_infonce,
        "frame_trip": terms.frame_triplet,
        "vidlvlctl": terms.cbva,
        "txt_rkd": terms.tcpl_distance + terms.tcpl_angle,
        "total": terms.total,
    }
    segments = reference.batch.segment_of_clip.amax(dim=1) + 1
    return {
        **{name: float(value.detach()) for name, value in named.items()},
        "clip_num": float(segments.double().mean()),
    }


def group(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): float(value)
        for key, value in values.items()
        if key.startswith(prefix)
    }


def gradient_error(parameter: torch.nn.Parameter, wanted: float) -> float:
    """Relative error of a gradient's norm; NaN is wanted where there is no gradient."""
    if parameter.grad is None:
        return 0.0 if np.isnan(wanted) or wanted < GRADIENT_FLOOR else float("inf")
    ours = float(parameter.grad.norm())
    if max(ours, wanted) < GRADIENT_FLOOR:
        return 0.0
    return abs(ours - wanted) / max(wanted, GRADIENT_FLOOR)


def check_steps(reference: Reference) -> Iterator[GroupResult]:
    model, values = reference.model, reference.values
    decayed = model.decayed_parameters()
    ids = {id(parameter) for parameter in decayed}
    free = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    optimizer = BertAdam(decayed, free, reference.settings.optimizer, reference.total_steps)
    totals = []
    for _ in values["train/loss_per_step"]:
        terms = losses(reference)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        totals.append(float(terms.total.detach()))
    error = relative_error(totals, values["train/loss_per_step"])
    yield GroupResult("train/loss_per_step", error, GRADIENT_TOLERANCE)
    parameters = dict(model.named_parameters())
    errors = [
        relative_error(float(parameters[our_name(name) or ""].detach().norm()), wanted)
        for name, wanted in group(values, "train/param_norm_after/").items()
        # A bias that starts at zero and gets no gradient is zero up to rounding.
        if wanted > GRADIENT_FLOOR
    ]
    yield GroupResult("train/param_norm_after", max(errors), GRADIENT_TOLERANCE)


def check_metrics(reference: Reference) -> GroupResult:
    values = reference.values
    relevance = single_relevance(torch.from_numpy(values["metrics/target"]))
    ranks = best_ranks(torch.from_numpy(values["metrics/scores"]), relevance)
    found = recalls(ranks)
    ours = [found[name] for name in ("R1", "R5", "R10", "R100")]
    error = relative_error(ours, values["metrics/recall_at_1_5_10_100"])
    return GroupResult("metrics", error, OUTPUT_TOLERANCE)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(file: Path) -> None:
    """Check the implementation against FILE, in the reference format."""
    failed = 0
    for result in check(file):
        failed += not result.passed
        verdict = "ok" if result.passed else "MISS"
        click.echo(
            f"{result.group:32} {result.error:.2e} (allowed {result.tolerance:.0e}) {verdict}"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

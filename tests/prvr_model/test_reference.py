"""Agreement with reference values: a small file that travels along, the whole one where it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prvr_model.inputs.resampling import normalise_rows, resample
from prvr_model.inputs.token_merging import (
    choose_levels,
    connectivity,
    merge_neighbours,
)
from prvr_model.losses.cbva import cbva
from prvr_model.losses.infonce import infonce
from prvr_model.losses.tcpl import angle_loss, distance_loss
from prvr_model.losses.triplet import NegativeDraws, triplet
from prvr_model.network.model import MscModel
from prvr_model.retrieval.metrics import best_ranks, recalls, single_relevance
from prvr_model.settings import PUBLISHED_LEVELS, PUBLISHED_MERGE_SCHEDULE
from tests.locations import SHARED
from tests.prvr_model.clip_segments import segment_plans, spanning_tree_weights
from tests.prvr_model.made_reference import write_reference
from tests.prvr_model.network.test_released_weights import released_name
from tests.reference_conformance import (
    OUTPUT_TOLERANCE,
    check,
    check_initial_weights,
    read_reference,
    relative_error,
)

REFERENCE = Path(__file__).parent / "reference" / "msc_losses.npz"
COMPLETE = SHARED / "golden" / "msc_reference.npz"
# The video whose raw frames the small file holds.
RAW_VIDEO = 3


@pytest.fixture(scope="module")
def values() -> Mapping[str, np.ndarray]:
    with np.load(REFERENCE, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def config(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(str(values["config/json"]))
    return content


def close(ours: object, wanted: object) -> bool:
    return relative_error(ours, wanted) <= OUTPUT_TOLERANCE


def test_resampling_and_merging(values: Mapping[str, np.ndarray]) -> None:
    raw = resample([values[f"raw/video{RAW_VIDEO}/frames"]], 128)
    merged = merge_neighbours(raw, PUBLISHED_MERGE_SCHEDULE)
    assert (merged.sizes[0] == values["prep/segment_sizes"][RAW_VIDEO]).all()
    assert (merged.frame_to_clip[0] == values["prep/frame_to_segment"][RAW_VIDEO]).all()
    assert close(normalise_rows(merged.features)[0], values["prep/clip_features"][RAW_VIDEO])


def segments(values: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> np.ndarray:
    clips, sizes = values["prep/clip_features"], values["prep/segment_sizes"]
    levels = choose_levels(spanning_tree_weights(clips), config["model"]["sim_thr"], 5)
    plans = segment_plans(clips, sizes.astype(np.float32), PUBLISHED_LEVELS)
    chosen: np.ndarray = plans[np.arange(len(clips)), levels]
    return chosen[values["batch/video_order"]]


def test_connectivity_and_segments(
    values: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> None:
    tree = spanning_tree_weights(values["prep/clip_features"])
    omega = connectivity(tree, config["model"]["sim_thr"])[values["batch/video_order"]]
    assert close(omega, values["out/connectivity"])
    counts = segments(values, config).max(axis=1) + 1
    assert close(counts.mean(), values["loss/clip_num"])
    assert set(counts) == set(PUBLISHED_LEVELS)


@pytest.mark.parametrize(("branch", "place"), [("clip", 0), ("frame", 1)])
def test_retrieval_losses(
    values: Mapping[str, np.ndarray], config: Mapping[str, Any], branch: str, place: int
) -> None:
    owners = torch.from_numpy(values["batch/text_labels"])
    product = torch.from_numpy(values[f"out/{branch}_scores_unnormalized"])
    weight = config["loss"]["loss_factor"][place]
    assert close(weight * infonce(product, owners), values[f"loss/{branch}_nce"])
    cosine = torch.from_numpy(values[f"out/{branch}_scores"])
    draws = NegativeDraws(torch.zeros(len(cosine)), torch.zeros(cosine.shape[1]))
    found = triplet(cosine, owners, config["loss"]["margin"], draws, hard_pool=1)
    assert close(found, values[f"loss/{branch}_trip"])


def test_text_correlation(values: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    query, teacher = (
        torch.from_numpy(values[f"out/{name}"]) for name in ("query", "teacher_query")
    )
    weights = config["loss"]["rkd_d_coef"], config["loss"]["rkd_a_coef"]
    found = weights[0] * distance_loss(query, teacher) + weights[1] * angle_loss(query, teacher)
    assert close(found, values["loss/txt_rkd"])


def test_alignment(values: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    order = values["batch/video_order"]
    found = cbva(
        torch.from_numpy(values["out/projected_frames"]),
        torch.from_numpy(values["out/projected_clips"]),
        torch.from_numpy(values["prep/segment_sizes"][order]).float(),
        torch.from_numpy(segments(values, config)),
        torch.from_numpy(values["prep/frame_to_segment"][order]).long(),
    )
    assert close(config["loss"]["vl_coef"] * found, values["loss/vidlvlctl"])


def test_recalls(values: Mapping[str, np.ndarray]) -> None:
    relevance = single_relevance(torch.from_numpy(values["metrics/target"]))
    found = recalls(best_ranks(torch.from_numpy(values["metrics/scores"]), relevance))
    assert close(list(found.values())[:4], values["metrics/recall_at_1_5_10_100"])


@pytest.mark.parametrize(
    ("name", "factor", "missed"),
    [
        ("vproj_clip.bias", 1.0, None),
        ("weight_token", 0.02, "initial/spread"),
        ("query_encoder.self.query.weight", 5.0, "initial/spread"),
        ("frame_encoder_1.attn0.norm1.weight", 0.0, "initial/constants"),
    ],
)
def test_weights_that_start_otherwise_are_told(
    tmp_path: Path, name: str, factor: float, missed: str | None
) -> None:
    write_reference(tmp_path / "made.npz")
    reference = read_reference(tmp_path / "made.npz")
    settings = reference.settings.model.model_copy(update={"hidden_size": 64})
    torch.manual_seed(1)
    sizes = reference.model.video_dim, reference.model.text_dim
    wide = replace(
        reference,
        settings=reference.settings.model_copy(update={"model": settings}),
        values={
            f"state/{released_name(ours)}": weight.numpy()
            for ours, weight in MscModel(settings, *sizes).state_dict().items()
        },
    )
    assert f"state/{name}" in wide.values
    changed = {**wide.values, f"state/{name}": factor * wide.values[f"state/{name}"]}
    results = check_initial_weights(replace(wide, values=changed))
    assert [result.group for result in results if not result.passed] == [missed] * bool(missed)


@pytest.mark.skipif(not COMPLETE.is_file(), reason=f"the complete reference {COMPLETE} is not here")
def test_every_group_of_the_complete_reference() -> None:
    results = list(check(COMPLETE))
    assert [result.group for result in results if not result.passed] == []
    assert len(results) >= 27

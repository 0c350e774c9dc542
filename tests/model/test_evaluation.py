"""Evaluation against the model applied to one caption and one video at a time."""

import numpy as np
import pytest
import torch

from prvr_model import evaluation
from prvr_model.dataset import PreparedSplit, prepare_split
from prvr_model.evaluation import Evaluation, build_relevance, evaluate
from prvr_model.feature_store import FeatureStore, StoreSplit
from prvr_model.metrics import recalls
from prvr_model.model import MscModel
from prvr_model.settings import EvaluationSettings, SpeedSettings
from tests.model.tiny import tiny_model, tiny_settings


@pytest.fixture
def split(tiny_store: FeatureStore) -> PreparedSplit:
    return prepare_split(tiny_store, "val", tiny_settings())


@torch.no_grad()
def slow_scores(model: MscModel, split: PreparedSplit) -> dict[str, np.ndarray]:
    model.eval()
    clip = np.zeros((split.num_captions, split.num_videos))
    frame = np.zeros_like(clip)
    for caption in range(split.num_captions):
        part = slice(split.token_offsets[caption], split.token_offsets[caption + 1])
        tokens = torch.from_numpy(np.array(split.tokens[part]))[None]
        query = model.encode_captions(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))[0]
        for video in range(split.num_videos):
            rows = [torch.from_numpy(np.array(a[video]))[None] for a in (split.frames, split.clips)]
            sizes = torch.from_numpy(np.array(split.clip_sizes[video]))[None]
            encoded = model.encode_videos(*rows, sizes)
            for scores, found in ((clip, encoded.clips[0]), (frame, encoded.frames[0])):
                cosines = [float(query @ row / query.norm() / row.norm()) for row in found]
                scores[caption, video] = max(cosines)
    return {"clip": clip, "frame": frame}


def evaluated(
    model: MscModel, store: FeatureStore, split: PreparedSplit, **speed: int
) -> Evaluation:
    relevance = build_relevance(store.split("val"), EvaluationSettings())
    return evaluate(model, split, relevance, SpeedSettings(**speed))


def test_ranks_and_recalls_equal_the_loop(tiny_store: FeatureStore, split: PreparedSplit) -> None:
    model = tiny_model(tiny_settings())
    found = evaluated(model, tiny_store, split)
    scores = slow_scores(model, split)
    scores["fused"] = 0.4 * scores["clip"] + 0.6 * scores["frame"]
    for branch, matrix in scores.items():
        own = matrix[np.arange(len(matrix)), split.caption_video]
        ranks = 1 + (matrix > own[:, None]).sum(axis=1)
        prefix = "" if branch == "fused" else f"{branch}/"
        for name, value in recalls(torch.from_numpy(ranks)).items():
            assert found.metrics[prefix + name] == value, (branch, name)
        if branch == "fused":
            assert found.ranks.tolist() == ranks.tolist()


def test_fusion_weights_are_settings(tiny_store: FeatureStore, split: PreparedSplit) -> None:
    clip_only = tiny_settings(model__clip_score_weight=1.0, model__frame_score_weight=0.0)
    found = evaluated(tiny_model(clip_only), tiny_store, split)
    fused = {name: found.metrics[name] for name in ("R1", "R5", "SumR")}
    assert fused == {name: found.metrics[f"clip/{name}"] for name in fused}


def test_blocks_do_not_change_the_ranks(
    tiny_store: FeatureStore, split: PreparedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tiny_settings())
    whole = evaluated(model, tiny_store, split)
    monkeypatch.setattr(evaluation, "_ENCODING_BLOCK", 3)
    monkeypatch.setattr(evaluation, "_BLOCK_ELEMENTS", 1)
    parts = evaluated(model, tiny_store, split, evaluation_block=5)
    assert (parts.ranks == whole.ranks).all()
    assert parts.metrics == whole.metrics


def test_evaluation_leaves_the_model_as_it_was(
    tiny_store: FeatureStore, split: PreparedSplit
) -> None:
    for training in (True, False):
        model = tiny_model(tiny_settings()).train(training)
        first = evaluated(model, tiny_store, split)
        assert model.training is training
        # Dropout would give other ranks the second time.
        assert (evaluated(model, tiny_store, split).ranks == first.ranks).all()


class _Captions(StoreSplit):
    """The part of a split that relevance reads."""

    def __init__(self) -> None:
        self.caption_video = np.array([0, 0, 1, 2, 2])
        self.caption_texts = ("a dog", "a cat", "a dog", "a bird", "a cat")


def test_same_text_counts_for_every_video_that_has_it() -> None:
    captions = _Captions()
    settings = EvaluationSettings(relevance="same_text")
    found = build_relevance(captions, settings).videos
    assert [set(row.tolist()) for row in found] == [{0, 1}, {0, 2}, {0, 1}, {2}, {0, 2}]
    plain = build_relevance(captions, EvaluationSettings()).videos
    assert plain.tolist() == [[0], [0], [1], [2], [2]]

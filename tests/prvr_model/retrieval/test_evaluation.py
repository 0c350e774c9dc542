"""Evaluation against the model applied to one caption and one video at a time."""

import numpy as np
import pytest
import torch

from prvr_model.errors import StoreError
from prvr_model.inputs.batching import pad_tokens
from prvr_model.inputs.prepared_split import PreparedSplit, prepare_split
from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval import evaluation
from prvr_model.retrieval.collapse import GroupSums, rank_correlation, similarity_metrics
from prvr_model.retrieval.evaluation import (
    Evaluation,
    build_relevance,
    evaluate,
    gallery_scores,
    rank_gallery,
)
from prvr_model.retrieval.metrics import Relevance, recalls, single_relevance
from prvr_model.settings import EvaluationSettings, SpeedSettings
from prvr_model.store.reader import FeatureStore, StoreSplit
from tests.prvr_model.tiny import tiny_model, tiny_settings


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
    monkeypatch.setattr(evaluation, "ENCODING_BLOCK", 3)
    monkeypatch.setattr(evaluation, "_BLOCK_ELEMENTS", {"cpu": 5 * 16 * 3})
    parts = evaluated(model, tiny_store, split, evaluation_block=5)
    assert (parts.ranks == whole.ranks).all()
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("elements", [1, 60, 1 << 20])
def test_scores_of_any_block_are_the_largest_cosines(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_BLOCK_ELEMENTS", {"cpu": elements})
    queries = unit_rows(torch.randn(5, 6))
    gallery = EncodedVideos(unit_rows(torch.randn(7, 3, 6)), unit_rows(torch.randn(7, 4, 6)))
    found = gallery_scores(queries, gallery, tiny_settings().model)
    clip, frame = (
        torch.einsum("qd,vrd->qvr", queries, rows).amax(dim=2)
        for rows in (gallery.clips, gallery.frames)
    )
    torch.testing.assert_close(found["clip"], clip)
    torch.testing.assert_close(found["frame"], frame)
    torch.testing.assert_close(found["fused"], 0.4 * clip + 0.6 * frame)


def test_ranks_take_the_best_of_several_correct_videos() -> None:
    queries = torch.eye(3)[:2]
    # Cosines of query 0 with the videos: 0.6, 0.8, 1; of query 1: 0.8, 0.6, 0.
    rows = torch.tensor([[0.6, 0.8, 0], [0.8, 0.6, 0], [1.0, 0, 0]])[:, None]
    gallery = EncodedVideos(rows, rows)
    relevance = Relevance(torch.tensor([[0, 1], [2, 2]]))
    for block in (1, 2):
        ranks = rank_gallery(queries, gallery, relevance, tiny_settings().model, block)
        assert [ranks[name].tolist() for name in ("clip", "frame", "fused")] == [[2, 3]] * 3


def test_a_score_that_is_not_a_number_reaches_the_ranks() -> None:
    rows = torch.eye(3)[:, None].clone()
    rows[0] = torch.nan
    gallery = EncodedVideos(rows, rows)
    relevance = single_relevance(torch.tensor([0, 1]))
    ranks = rank_gallery(torch.eye(3)[:2], gallery, relevance, tiny_settings().model, 8)
    assert ranks["fused"].tolist() == [3, 2]


def test_collapse_is_that_of_queries_clips_and_their_foundation(
    tiny_store: FeatureStore, split: PreparedSplit
) -> None:
    model = tiny_model(tiny_settings()).eval()
    found = evaluated(model, tiny_store, split).metrics
    with torch.no_grad():
        tokens = pad_tokens(split, np.arange(split.num_captions), torch.device("cpu"))
        queries = unit_rows(model.encode_captions(tokens.features, tokens.valid))
        videos = [torch.from_numpy(np.array(split.frames)), torch.from_numpy(np.array(split.clips))]
        clips = model.encode_videos(*videos, torch.from_numpy(np.array(split.clip_sizes))).clips
    teacher = torch.from_numpy(split.tokens[split.token_offsets[1:] - 1])
    owners = torch.from_numpy(np.array(split.caption_video))
    clip_owners = torch.arange(split.num_videos).repeat_interleave(split.clips.shape[1])
    kinds = {
        "query": (queries, owners),
        "teacher_query": (unit_rows(teacher), owners),
        "clip": (unit_rows(clips).flatten(0, 1), clip_owners),
        "teacher_clip": (unit_rows(videos[1]).flatten(0, 1), clip_owners),
    }
    wanted = {}
    for kind, (rows, owner) in kinds.items():
        sums = GroupSums.of_rows(rows, owner, split.num_videos)
        wanted.update(similarity_metrics(kind, sums))
    wanted["query_spearman"] = rank_correlation(queries, unit_rows(teacher))
    collapse = {name: value for name, value in found.items() if name.startswith("collapse/")}
    assert collapse == pytest.approx(
        {f"collapse/{name}": value for name, value in wanted.items()}, abs=1e-4
    )
    assert len(collapse) == 13
    # A kind that is mistaken for another would show.
    assert len({round(value, 5) for value in collapse.values()}) == 13


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
        self.relevant = ((),) * 5
        self.name = "val"


def test_same_text_counts_for_every_video_that_has_it() -> None:
    captions = _Captions()
    settings = EvaluationSettings(relevance="same_text")
    found = build_relevance(captions, settings).videos
    assert [set(row.tolist()) for row in found] == [{0, 1}, {0, 2}, {0, 1}, {2}, {0, 2}]
    plain = build_relevance(captions, EvaluationSettings()).videos
    assert plain.tolist() == [[0], [0], [1], [2], [2]]


def test_verified_labels_count_and_a_caption_without_one_has_its_own_video() -> None:
    captions = _Captions()
    captions.relevant = ([1], [], [0, 2], [], [2])
    settings = EvaluationSettings(relevance="verified")
    found = build_relevance(captions, settings).videos
    assert [set(row.tolist()) for row in found] == [{1}, {0}, {0, 2}, {2}, {2}]
    captions.relevant = ((),) * 5
    with pytest.raises(StoreError, match=r"no caption of split val .* --relevance FILE, or set"):
        build_relevance(captions, settings)

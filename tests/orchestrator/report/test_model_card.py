"""A registered model's card says what was recorded, and nothing that was not."""

from orchestrator.report.model_card import CardFacts, model_card
from orchestrator.statistics.crossed import Interval
from orchestrator.study import test_scores
from orchestrator.study.moment_scores import MomentScores
from orchestrator.study.trial import TrialState, TrialSummary
from prvr_model.settings import ModelSettings
from prvr_model.store.format import Manifest, SplitCounts
from prvr_model.store.recipe import FeatureRecipe

TRIAL = TrialSummary(4, TrialState.COMPLETE, {}, 231.24, 9, 12, "key", "folder", seed=7)
RECIPE = FeatureRecipe(
    encoder="openai/clip-vit-large-patch14",
    architecture="CLIPModel",
    weights_sha256="a1" * 32,
    preprocessing_sha256="b2" * 32,
    frames_per_second=3,
    sentence_row="eos",
    max_tokens=77,
)
DATA = Manifest(
    name="tvr",
    video_dim=768,
    text_dim=768,
    video_dtype="float16",
    text_dtype="float16",
    splits={"train": SplitCounts(videos=20, captions=50, frames=900, tokens=400)},
    files={},
    source={},
    recipe=RECIPE,
    fingerprint="c3" * 32,
)


def test_a_card_says_all_that_is_known() -> None:
    moments = MomentScores(30, {"window/R1_iou_0.5": 12.5, "window/mIoU": 33.3}, ())
    metrics, intervals = {"R1": 17.7, "clip/R1": 1.0}, {"R1": (15.0, 20.4)}
    score = test_scores.TestScore("key", 9, metrics, "cpu", moments, intervals)
    facts = CardFacts("val/SumR", TRIAL, ModelSettings(), Interval(229, 233.5), score, DATA)
    card = model_card(facts)
    for text in (
        "## Data\n\ntvr, fingerprint c3c3c3c3c3c3: train 20 videos, 50 captions.\n\n## Features\n",
        "openai/clip-vit-large-patch14 (CLIPModel, weights a1a1a1a1a1a1), 3 rows a second of video",
        "| validation SumR | 231.24 | 229.0 to 233.5 |",
        "| test R@1        |  17.70 |   15.0 to 20.4 |",
        "Moments on test, in the right video (trial 4, 30 captions)",
        "one training run (seed 7)",
        "becomes 128 frames and 32 clips",
    ):
        assert text in card
    assert "clip R@1" not in card
    # As much as MLflow keeps of a description.
    assert len(card) < 4500


def test_a_card_leaves_out_what_is_not_known() -> None:
    card = model_card(CardFacts("val/SumR", TRIAL, ModelSettings()))
    assert card.startswith("## Numbers")
    assert "| validation SumR | 231.24 | " in card
    assert not any(word in card for word in ("## Data", "## Features", "| test", "Moments"))
    unknown = DATA.model_copy(update={"recipe": None})
    card = model_card(CardFacts("val/SumR", TRIAL, ModelSettings(), data=unknown))
    assert "captions 768. How they were made is not recorded." in card

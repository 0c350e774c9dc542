"""A registered model's card: its data, features, numbers, moments and limits, as recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.report.document import Block, Heading, Paragraph, Table
from orchestrator.report.formatting import RECALLS, display_name, interval_text, number
from orchestrator.report.markdown import render_blocks
from orchestrator.report.moment_blocks import moment_blocks
from orchestrator.statistics.crossed import Interval
from orchestrator.study.goals import cost_text
from orchestrator.study.test_scores import TestScore
from orchestrator.study.trial import TrialSummary
from prvr_model.reporting import VERIFIED

if TYPE_CHECKING:
    from prvr_model.settings import ModelSettings
    from prvr_model.store.format import Manifest

_DIGEST_LETTERS = 12


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from.

    Args:
        metric: The objective, e.g. `val/SumR`.
        trial: The model's trial.
        model: The model's settings.
        interval: Of the trial's value, for this model on new videos; None: not known.
        score: Its score on test; None if it has none.
        data: Manifest of the store; None if that is not at hand.
        costs: What the model costs, by metric, see `orchestrator.spec.objectives.COSTS`.
    """

    metric: str
    trial: TrialSummary
    model: "ModelSettings"
    interval: Interval | None = None
    score: TestScore | None = None
    data: "Manifest | None" = None
    costs: Mapping[str, float] = field(default_factory=dict)


def model_card(facts: CardFacts) -> str:
    """The card in Markdown; what was not recorded is left out, or said to be unknown."""
    return render_blocks(_blocks(facts))


def _blocks(facts: CardFacts) -> Iterator[Block]:
    if facts.data is not None:
        yield Heading("Data")
        yield Paragraph(_data(facts.data))
        yield Heading("Features")
        yield Paragraph(_features(facts.data))
    yield Heading("Numbers")
    yield _numbers(facts)
    if facts.costs:
        yield _costs(facts.costs)
    if facts.score is not None and facts.score.moments is not None:
        yield from moment_blocks(facts.trial.number, facts.score.moments)
    yield Heading("Limits")
    yield Paragraph(_limits(facts))


def _data(data: "Manifest") -> str:
    splits = "; ".join(
        f"{name} {counts.videos} videos, {counts.captions} captions"
        for name, counts in data.splits.items()
    )
    return f"{data.name}, fingerprint {data.fingerprint[:_DIGEST_LETTERS]}: {splits}."


def _features(data: "Manifest") -> str:
    sizes = f"Rows of videos have {data.video_dim} numbers, those of captions {data.text_dim}."
    recipe = data.recipe
    if recipe is None:
        return f"{sizes} How they were made is not recorded."
    last = "the [EOS] token's" if recipe.sentence_row == "eos" else "the pooled vector"
    return (
        f"{recipe.encoder} ({recipe.architecture}, weights "
        f"{recipe.weights_sha256[:_DIGEST_LETTERS]}), {recipe.frames_per_second:g} rows a second "
        f"of video; at most {recipe.max_tokens} token rows a caption, {recipe.token_rows}, the "
        f"last row {last}. {sizes}"
    )


def _numbers(facts: CardFacts) -> Table:
    rows = [_row("validation", facts.metric, facts.trial.value, facts.interval)]
    if facts.score is not None:
        found, intervals = facts.score.metrics, facts.score.intervals
        labelled = [name for name in found if name.startswith(f"{VERIFIED}/")]
        for name in (*RECALLS, *labelled):
            interval = Interval(*intervals[name]) if name in intervals else None
            rows.append(_row("test", f"test/{name}", found.get(name), interval))
    return Table(
        "One trained model; recalls in percent",
        ("metric", "value", "95 % interval"),
        rows,
        notes=[
            "Intervals are for this model on new videos. The validation number chose epoch and "
            "trial, so it is optimistic."
        ],
    )


def _costs(costs: Mapping[str, float]) -> Table:
    rows = [[display_name(name), cost_text(cost)] for name, cost in costs.items()]
    return Table(
        "What it costs",
        ("cost", "value"),
        rows,
        notes=["A query is timed on the machine that trained, over 10,000 videos."],
    )


def _row(split: str, metric: str, value: float | None, interval: Interval | None) -> list[str]:
    return [f"{split} {display_name(metric)}", number(value, 2), interval_text(interval)]


def _limits(facts: CardFacts) -> str:
    seed = f" (seed {facts.trial.seed})" if facts.trial.seed is not None else ""
    model = facts.model
    return (
        f"The numbers are of this data set and of one training run{seed}; they say nothing of "
        "other data. The model takes features that were made like these and no others. A video "
        f"of any length becomes {model.num_frames} frames and {model.num_clips} clips, so moments "
        f"in long videos are found coarsely; a caption is cut after {model.max_caption_tokens} "
        "token rows."
    )

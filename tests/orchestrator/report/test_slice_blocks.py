"""Where a winner gains and loses: against slow means, with planted gains, and in words."""

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.report.findings import Findings
from orchestrator.report.publishing import render, report
from orchestrator.report.slice_findings import SliceFinding, SliceGain, find_slices
from orchestrator.spec.data import open_data
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import crossed_mean
from orchestrator.study.frozen_ranks import keep_frozen_ranks
from orchestrator.study.outcomes import ranks_of
from prvr_model.store.reader import FeatureStore
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run, spec_of, typed_store

TWO = "ablation.variants={other: {losses.margin: 0.3}, third: {losses.tau: 0.6}}"


def swept(home: Path, text: str, *overrides: str, function: str = "of_types") -> Findings:
    store = typed_store(home / "store")
    changes = (f"data={store}", *overrides)
    run(home, text, *changes, function=function)
    spec = spec_of(text, *changes)
    keep_frozen_ranks(spec, open_data(spec.data, home, print), home, print)
    return report(home, "small")


def of(finding: SliceFinding, kind: str, part: str = "") -> SliceGain:
    (found,) = (each for each in finding.gains if (each.kind, each.part) == (kind, part))
    return found


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return swept(tmp_path_factory.mktemp("sliced"), LADDER, TWO, "ablation.seeds=8")


def slow_sums(found: Findings, row: str, queries: np.ndarray) -> np.ndarray:
    """Of each seed and query what SumR is the mean of."""
    runs = [run.trial for run in found.data.runs if run.trial.variant == row]
    ranks = np.array([ranks_of(trial)[queries] for trial in runs])
    return 100.0 * sum((ranks <= depth).astype(float) for depth in (1, 5, 10, 100))


def test_a_gain_is_found_in_its_slice_with_the_interval_of_seeds_and_videos(
    ablation: Findings,
) -> None:
    finding = ablation.slices
    assert finding is not None
    assert (finding.winner, finding.baseline, finding.metric) == ("other", "baseline", "val/SumR")
    assert (finding.seeds, finding.chosen_from) == (8, 2)
    split = FeatureStore.open(Path(ablation.data.spec.data.store or "")).split("val")
    for part, verdict in (("v", Verdict.REAL), ("vt", Verdict.WORSE)):
        gain = of(finding, "query type", part)
        rows = np.array(split.query_types) == part
        own, other = (slow_sums(ablation, row, rows) for row in ("other", "baseline"))
        owners = split.caption_video[rows]
        videos = np.unique(owners)
        totals = np.array([[d[owners == v].sum() for v in videos] for d in own - other])
        wanted = crossed_mean(totals, np.array([(owners == v).sum() for v in videos], float))
        assert gain.means == pytest.approx((own.mean(), other.mean()))
        assert gain.difference == pytest.approx(wanted.mean)
        assert gain.interval == wanted.interval(0.05)
        assert gain.p_value == wanted.p_value()
        assert (gain.queries, gain.videos) == (rows.sum(), len(videos))
        assert gain.verdict is verdict
    # The three moments of a video are of one event.
    assert {gain.kind for gain in finding.gains} == {
        "moment-to-video ratio", "video length", "words of the query", "query type", "branch",
    }  # fmt: skip


def test_p_is_corrected_over_the_slices_and_the_choice_and_few_videos_are_not_judged(
    ablation: Findings,
) -> None:
    finding = ablation.slices
    assert finding is not None
    few = of(finding, "query type", "t")
    assert (few.videos, few.is_judged, few.interval, few.corrected_p) == (6, False, None, None)
    judged = finding.judged
    assert len(judged) == len(finding.gains) - 1
    best = min(judged, key=lambda gain: gain.p_value or 1)
    # Holm's first step, over all that are judged and over the two rows that might have won.
    assert best.corrected_p == pytest.approx(min(1, 2 * len(judged) * (best.p_value or 1)))
    half = find_slices(ablation.data, look_share=0.5)
    assert half is not None
    again = min(half.judged, key=lambda gain: gain.p_value or 1)
    assert again.corrected_p == pytest.approx(2 * (best.corrected_p or 1))


def test_the_report_says_it_in_words_numbers_and_a_figure(ablation: Findings) -> None:
    text = render(ablation, "md")
    part = text.partition("## Where the winner gains and where it loses")[2]
    assert "In SumR against baseline, other gains for queries of type v (+" in part
    assert " and loses for queries of type vt (−" in part  # noqa: RUF001
    assert "Of 1 slice with fewer than 10 videos nothing is said." in part
    assert "The baseline is that of the table." in part
    assert "fewer than 10 videos: nothing can be said" in part
    assert "and over the 2 configurations among which the winner was chosen" in part
    numbers = json.loads(render(ablation, "json"))["slices"]
    assert numbers["answer"].replace("<", "&lt;") in part
    assert [each["verdict"] for each in numbers["gains"]].count(None) == 1
    assert render(ablation, "html").count("Difference of SumR in every slice") == 1


@pytest.mark.parametrize(
    ("changes", "baseline", "why", "seeds"),
    [
        (("search.trials=3", "confirm.top=2", "confirm.seeds=2"), "trial", "the runner-up", 2),
        (("search.trials=2",), "frozen:", "no other configuration", 1),
        (
            ("search.trials=null", "search.sampler=grid", "search.parameters={losses.margin: "
             "{type: categorical, choices: [0.2, 0.3]}}"),
            "trial", "the default values", 1,
        ),
    ],
)  # fmt: skip
def test_a_search_is_held_against_the_published_values_or_what_is_nearest(
    changes: tuple[str, ...], baseline: str, why: str, seeds: int, tmp_path: Path
) -> None:
    found = swept(tmp_path, SEARCH, *changes, function="trained")
    finding = found.slices
    assert finding is not None
    assert finding.baseline.startswith(baseline)
    assert why in finding.why
    assert (finding.winner, finding.seeds) == ("the best", seeds)
    assert of(finding, "query type", "v").interval is not None
    whom = "new seeds and new videos." if seeds > 1 else "these models on new videos; no verdicts."
    assert f"Intervals are each slice's own, for {whom}" in render(found, "md")
    # One run of each shows nothing about configurations.
    assert (of(finding, "query type", "v").p_value is None) is (seeds == 1)
    has_branches = any(gain.kind == "branch" for gain in finding.gains)
    assert has_branches is (baseline == "trial")


def test_both_notions_of_what_is_right_have_tables_and_the_objective_may_be_either(
    tmp_path: Path,
) -> None:
    objective = "objective.metric=val/verified/nDCG10"
    found = swept(tmp_path, LADDER, TWO, "ablation.seeds=2", objective)
    assert found.data.spec.settings["evaluation.best_epoch_by"] == "verified/nDCG10"
    assert found.ablation is not None
    assert found.ablation.table is not None
    row = found.ablation.table.summaries[1]
    assert found.winner is not None
    ndcg = np.mean(found.ablation.rows[1].values("val/verified/nDCG10"))
    assert row.mean == pytest.approx(ndcg, abs=1e-4)
    assert found.yardstick is not None
    frozen = found.yardstick.rows[0]
    for wanted in ("md", "tex", "html"):
        text = render(found, wanted)  # type: ignore[arg-type]
        assert "Recalls on validation, own video only: mean" in text
        assert "Recalls on validation, any relevant video: mean" in text
        assert (
            text.count("95 % interval of nDCG@10") + text.count(r"95 \% interval of nDCG@10") == 1
        )
        assert f"{frozen.recalls['verified/mAP']:.1f}" in text
        assert "The winner on validation, by what counts as right" in text
    assert "Branches have no verified/nDCG10 of their own." in render(found, "md")
    assert found.slices is not None
    assert found.slices.metric == "val/verified/nDCG10"
    assert of(found.slices, "query type", "v").difference > 20

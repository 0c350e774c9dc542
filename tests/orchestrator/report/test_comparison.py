"""Two sweeps against each other: paired, unpaired, refused, and in words."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.report.comparison_blocks import comparison_blocks
from orchestrator.report.document import Document
from orchestrator.report.html import render_html
from orchestrator.report.latex import render_latex
from orchestrator.report.markdown import render_markdown
from orchestrator.report.numbers import comparison_numbers
from orchestrator.report.reading import SweepData, read_sweep
from orchestrator.report.sweep_comparison import ComparedSweeps, compare_sweeps
from orchestrator.report.sweep_pairing import Pairing, shared_seeds
from orchestrator.statistics.comparison import Verdict
from tests.orchestrator.helpers import new_study, small_spec
from tests.orchestrator.report.latex_compiler import compiled
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run, spec_of

BETTER = "ablation.baseline.set={losses.margin: 0.3}"
ALONE = "ablation.variants={}"
SEEDS_ONLY = LADDER.partition("ablation:")[0] + (
    "search: {sampler: grid, seed: 1, parameters: {training.seed: {type: int, low: 1, high: 4}}}\n"
)

Read = Callable[..., SweepData]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Runs a sweep of fake trials where none of its name is there yet, and reads it."""
    home = tmp_path_factory.mktemp("two")
    made: dict[str, tuple[str, ...]] = {}

    def make(name: str, text: str, *overrides: str, function: str = "trained") -> SweepData:
        asked = (text, *overrides, function)
        if made.setdefault(name, asked) != asked:
            raise ValueError(f"another sweep is called {name}")
        if not (home / name).exists():
            run(home, text, f"name={name}", *overrides, function=function)
        return read_sweep(home, name)

    return make


def texts(found: ComparedSweeps) -> tuple[str, str, str]:
    document = Document("t", "s", tuple(comparison_blocks(found)))
    json.dumps(comparison_numbers(found), allow_nan=False)
    return render_markdown(document), render_html(document), render_latex(document)


def test_rows_of_one_name_are_paired_by_seed_and_video(swept: Read) -> None:
    here = swept("more", LADDER, BETTER, "ablation.variants={more: {losses.tau: 0.7}}")
    there = swept("seeds9", LADDER, "ablation.seeds=[1, 2, 3, 9]")
    found = compare_sweeps(here, there)
    (pair,) = found.comparisons
    assert (pair.name, pair.pairing) == ("baseline", Pairing.SEEDS_AND_VIDEOS)
    shared = (1, 2, 3)
    assert pair.seeds == (shared, shared)
    assert pair.left_out == (4, 9)
    slow = []
    for data in (here, there):
        rows = [r.trial for r in data.runs if r.trial.variant == "baseline"]
        slow.append({t.seed: t.value for t in rows})
    assert pair.difference == pytest.approx(np.mean([slow[0][k] - slow[1][k] for k in shared]))
    assert pair.verdict is Verdict.REAL
    assert pair.differing == (("losses.margin", "0.3", "0.1"),)
    assert found.unmatched == (("more",), ("better", "same & <b>"))
    text, page, latex = texts(found)
    assert "baseline is better here by" in text
    assert "seeds that only one side has are left out: 4, 9" in text
    assert "Only in seeds9: better, same & &lt;b>." in text
    assert "same &amp; &lt;b&gt;" in page
    assert r"same \& \textless{}b\textgreater{}" in latex


def test_sweeps_with_long_names_are_latex_that_fits_the_page(swept: Read, tmp_path: Path) -> None:
    long = "name=a_sweep_with_a_name_of_more_than_forty_letters"
    here = swept("more", LADDER, BETTER, "ablation.variants={more: {losses.tau: 0.7}}")
    there = replace(swept("rows", LADDER), spec=spec_of(LADDER, long))
    assert "Overfull \\hbox" not in compiled(texts(compare_sweeps(here, there))[2], tmp_path)


def test_the_other_way_round_it_is_worse_by_as_much(swept: Read) -> None:
    sides = swept("better", LADDER, BETTER, ALONE), swept("rows", LADDER)
    (pair,), (other,) = (
        compare_sweeps(*pair).comparisons for pair in (sides, sides[::-1])
    )  # fmt: skip
    assert (pair.verdict, other.verdict) == (Verdict.REAL, Verdict.WORSE)
    assert pair.difference == pytest.approx(-other.difference)
    assert pair.p_value == pytest.approx(other.p_value)


def test_other_seeds_are_unpaired_and_said_so(swept: Read) -> None:
    here = swept("apart", LADDER, BETTER, ALONE, "ablation.seeds=[11, 12, 13, 14]")
    found = compare_sweeps(here, swept("alone", LADDER, ALONE))
    (pair,) = found.comparisons
    assert pair.pairing is Pairing.VIDEOS
    assert pair.seeds == ((11, 12, 13, 14), (1, 2, 3, 4))
    assert pair.verdict is Verdict.REAL
    assert "unpaired seeds, same videos" in texts(found)[0]


def test_other_data_is_unpaired_and_said_so(swept: Read) -> None:
    videos = "data={synthetic: {train_videos: 4, val_videos: 30, test_videos: 4, seed: 5}}"
    here = swept("videos", LADDER, ALONE, videos)
    found = compare_sweeps(here, swept("alone", LADDER, ALONE))
    (pair,) = found.comparisons
    assert pair.pairing is Pairing.NOTHING
    assert pair.interval is not None
    assert "data_fingerprint" in {name for name, *_ in found.differing}
    assert "of either split, which differ" in texts(found)[0]


def test_the_same_trials_are_one_result(swept: Read) -> None:
    sides = swept("rows", LADDER), swept("again", LADDER)
    found = compare_sweeps(*sides)
    pair = found.comparisons[0]
    assert (pair.same_trials, pair.difference, pair.p_value) == (4, 0.0, None)
    assert {each.verdict for each in found.comparisons} == {Verdict.NOT_SHOWN}
    assert "4 runs have the same key in both sweeps: one result, not two" in texts(found)[0]


def test_a_search_puts_forward_its_best_and_what_that_is_worth(swept: Read) -> None:
    chosen = swept("chosen", SEARCH, "search.trials=6")
    found = compare_sweeps(chosen, swept("rows", LADDER))
    assert [pair.other for pair in found.comparisons] == ["baseline", "better", "same & <b>"]
    assert {pair.verdict for pair in found.comparisons} == {Verdict.NOT_SHOWN}
    text, *_ = texts(found)
    assert (
        "the best of 6, chosen on the same videos that its value is read on: the value is too high"
        in text
    )
    assert "an interval needs two seeds on both sides" in text


def test_fresh_runs_stand_for_a_confirmed_search(swept: Read) -> None:
    confirmed = swept("sure", SEARCH, "search.trials=6", "confirm={top: 2, seeds: 3}")
    found = compare_sweeps(confirmed, swept("seeds", SEEDS_ONLY))
    (pair,) = found.comparisons
    assert len(pair.seeds[0]) >= 2
    assert (
        "runs on fresh seeds, the best of 2 that had such runs, so its value is a bit too high"
        in texts(found)[0]
    )


def test_seeds_of_one_configuration_are_not_a_choice(swept: Read) -> None:
    (pair,) = compare_sweeps(swept("seeds", SEEDS_ONLY), swept("seeds2", SEEDS_ONLY)).comparisons
    assert pair.seeds == ((1, 2, 3, 4), (1, 2, 3, 4))
    assert pair.remarks == ()


def test_without_ranks_values_of_seeds_are_compared(swept: Read) -> None:
    here, there = swept("freed", LADDER, BETTER, ALONE), swept("rows", LADDER)
    for own in here.runs:
        shutil.rmtree(Path(own.trial.folder.removeprefix("file://")) / "ranks")
    found = compare_sweeps(here, there)
    (pair,) = found.comparisons
    assert pair.pairing is Pairing.SEEDS
    text, *_ = texts(found)
    assert "new seeds on these same videos only" in text
    assert "freed: trial 0: the ranks of its best epoch cannot be read" in text


def test_values_are_not_compared_across_data(swept: Read) -> None:
    videos = "data={synthetic: {train_videos: 4, val_videos: 30, test_videos: 4, seed: 5}}"
    here = swept("bare", LADDER, ALONE, videos)
    for own in here.runs:
        shutil.rmtree(Path(own.trial.folder.removeprefix("file://")) / "ranks")
    found = compare_sweeps(here, swept("alone", LADDER, ALONE))
    assert found.comparisons == ()
    text, *_ = texts(found)
    assert "Nothing of bare can be compared with alone." in text
    assert "values of seeds cannot be compared across other data or another metric" in text


def test_a_sweep_without_a_complete_trial_says_so(swept: Read) -> None:
    found = compare_sweeps(swept("rows", LADDER), swept("dead", LADDER, function="dying"))
    assert found.comparisons == ()
    assert "sweep dead has no complete trial to compare" in texts(found)[0]


def test_rows_of_other_names_are_not_compared(swept: Read) -> None:
    other = "ablation.baseline={name: plain, set: {losses.margin: 0.1}}"
    names = "ablation.variants={other: {losses.margin: 0.3}}"
    found = compare_sweeps(swept("rows", LADDER), swept("names", LADDER, other, names))
    assert found.comparisons == ()
    assert found.unmatched == (("baseline", "better", "same & <b>"), ("plain", "other"))
    assert "no row of the same name" in texts(found)[0]


@pytest.mark.parametrize(
    ("here", "other", "shared"),
    [
        ((1, 2, 3), (1, 2, 3), (1, 2, 3)),
        ((1, 2, 3, 4), (3, 4, 5, 6), (3, 4)),
        ((1, 2, 3, 4, 5), (4, 5, 6, 7, 8), ()),
        ((1,), (1,), ()),
        ((), (1, 2), ()),
    ],
)
def test_seeds_pair_where_enough_are_shared(here: tuple, other: tuple, shared: tuple) -> None:
    assert shared_seeds(here, other) == shared


def test_the_study_of_a_sweep_without_trials_has_no_candidate(tmp_path: Path) -> None:
    from orchestrator.report.candidates import candidates

    assert candidates(small_spec(), new_study(tmp_path, small_spec())) == ()

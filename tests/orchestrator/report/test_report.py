"""Reports of small sweeps in every format: numbers, words, hostile texts, what is missing."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from orchestrator.commands.status_text import render_status
from orchestrator.report.findings import Findings, find
from orchestrator.report.numbers import report_numbers
from orchestrator.report.publishing import FORMATS, render, report
from orchestrator.statistics.comparison import Verdict
from orchestrator.study.money import Cost
from orchestrator.sweep.status import read_status
from tests.orchestrator.command_line import prvr
from tests.orchestrator.report.latex_compiler import compiled
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run

HOSTILE = "Is <script>alert(1)</script> 100 % of $x_1 & {y}^2 ~ \\end{document} | # real?"


@pytest.fixture(scope="module")
def ladder_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ladder")
    run(home, LADDER)
    return home


@pytest.fixture(scope="module")
def ladder(ladder_home: Path) -> Findings:
    return report(ladder_home, "small")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("search")
    run(home, SEARCH)
    return report(home, "small")


def test_rows_are_means_over_seeds_at_the_best_epoch(ladder: Findings, ladder_home: Path) -> None:
    assert ladder.ablation is not None
    for row in ladder.ablation.rows:
        slow = []
        for own in row.runs:
            files = Path(own.trial.folder.removeprefix("file://")).glob("ranks/*.safetensors")
            recalls = [
                sum((load_file(file)["ranks"] <= depth).mean() * 100 for depth in (1, 5, 10, 100))
                for file in files
            ]
            slow.append(max(recalls))
        assert len(slow) == 4
        assert row.summary is not None
        assert row.summary.mean == pytest.approx(np.mean(slow))
        assert row.summary.standard_deviation == pytest.approx(np.std(slow, ddof=1))
        assert row.values("val/SumR") == pytest.approx(slow)
        assert [run.seconds for run in row.runs] == [6.0] * 4
        assert {run.parameters for run in row.runs} == {21}


def test_a_planted_step_is_real_and_noise_is_not(ladder: Findings) -> None:
    assert ladder.ablation is not None
    table = ladder.ablation.table
    assert table is not None
    assert table.of("better", "baseline").verdict is Verdict.REAL
    assert table.of("same & <b>", "better").verdict is Verdict.NOT_SHOWN
    text = render(ladder, "md")
    assert re.search(r"Real, in val/SumR: better is better than baseline by \d+\.\d \(", text)
    assert "Not shown: same & &lt;b> against better" in text


def test_one_line_says_what_it_cost(
    search: Findings, ladder: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Cost: " not in render(search, "md")
    assert "money" not in report_numbers(search)
    priced = replace(search, cost=Cost("EUR", 3, 2, 1, 0.5, 2))
    line = (
        "Cost: 5.00 EUR (3.00 on demand, 2.00 spot); 1.00 of it by trials that failed; 0.50 of it "
        "for 2 epochs that evictions or interruptions cut off."
    )
    assert line in render(priced, "md")
    assert report_numbers(priced)["money"]["total"] == 5
    (tmp_path / "prices.yaml").write_text("{currency: CHF, cpu_hour: 3600}")
    monkeypatch.setenv("PRVR_PRICES", str(tmp_path / "prices.yaml"))
    found = find(ladder.data).cost
    assert found is not None
    assert found.currency == "CHF"


def test_the_markdown_has_every_part(ladder: Findings) -> None:
    text = render(ladder, "md")
    for heading in ("The table", "Cost and learning curves", "Semantic collapse",
                    "The winner", "Where it is from"):  # fmt: skip
        assert f"## {heading}\n" in text
    assert "prvr-sweep reproduce small/" in text
    assert "24 of this split (4 seeds); not for other data sets" in text
    widths = {len(line) for line in text.splitlines() if line.startswith("| baseline")}
    assert len(widths) == 4


def test_the_json_has_the_numbers_of_the_table(ladder: Findings) -> None:
    found = json.loads(render(ladder, "json"))
    assert ladder.ablation is not None
    assert ladder.ablation.table is not None
    (step,) = [
        comparison
        for comparison in found["ablation"]["comparisons"]
        if comparison["variant"] == "better"
    ]
    exact = ladder.ablation.table.of("better", "baseline")
    assert step["difference"] == exact.difference
    assert step["verdict"] == "real"
    assert [len(row["runs"]) for row in found["ablation"]["rows"]] == [4, 4, 4]
    assert found["ablation"]["rows"][0]["runs"][0]["at_best"]["val/R1"] > 0


@pytest.mark.usefixtures("drawn_figures")
def test_the_page_needs_nothing_else(ladder: Findings) -> None:
    page = render(ladder, "html")
    assert page.startswith("<!doctype html>")
    assert not re.findall(r"<link|<img|src=|@import|url\((?!#)", page)
    assert page.count("<figure>") == 5
    assert "same &amp; &lt;b&gt;" in page
    assert "<b>" not in page.partition("<script")[0]


def test_a_single_seed_shows_nothing(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.seeds=1")
    text = render(report(tmp_path, "small"), "md")
    assert "One seed: this table shows no difference to be real, however large it looks." in text
    assert "1 shared seed; needs 2 or more" in text
    assert "No difference of val/SumR in this table is shown to be real." in text


def test_a_baseline_alone_tells_its_variance(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.variants={}")
    text = render(report(tmp_path, "small"), "md")
    assert "Between 4 seeds val/SumR is" in text
    assert "Differences of SumR" not in text


def test_failures_are_told_by_cause_and_their_seeds_left_out(tmp_path: Path) -> None:
    run(tmp_path, LADDER, function="failing")
    found = report(tmp_path, "small")
    text = render(found, "md")
    assert "3 failed (trials 1, 5, 9): TrialDiedError: no room for 1 tensors" in text
    assert "raise TrialDiedError" in text
    assert "Seeds that only one side finished are left out" in text
    assert "3, 1 failed" in text


def test_missing_ranks_are_named_and_their_run_left_out(tmp_path: Path) -> None:
    run(tmp_path, LADDER)
    own = report(tmp_path, "small").data.runs[1]
    shutil.rmtree(Path(own.trial.folder.removeprefix("file://")) / "ranks")
    text = render(report(tmp_path, "small"), "md")
    assert "trial 1: the ranks of its best epoch cannot be read" in text
    assert "better against baseline: seeds 1" in text


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run(tmp_path, LADDER)
    own = report(tmp_path, "small").data.runs[2]
    file = Path(own.trial.folder.removeprefix("file://")) / "last.safetensors"
    for content in (b"", b"\xff" * 64, file.read_bytes()[:300]):
        file.write_bytes(content)
        assert "trial 2: its metrics cannot be read" in render(report(tmp_path, "small"), "md")
    file.unlink()
    assert "has neither last.safetensors nor epochs.json" in render(report(tmp_path, "small"), "md")


def test_without_the_data_there_are_means_and_no_intervals(tmp_path: Path) -> None:
    run(tmp_path / "first", LADDER)
    made = report(tmp_path / "first", "small").data.attributes["data_fingerprint"]
    (manifest,) = (tmp_path / "first").glob("**/manifest.json")
    shutil.copytree(manifest.parent, tmp_path / "my.store")
    run(tmp_path / "home", LADDER, f"data={tmp_path / 'my.store'}")
    found = report(tmp_path / "home", "small")
    assert found.data.attributes["data_fingerprint"] == made
    assert "Real, in val/SumR" in render(found, "md")
    shutil.rmtree(tmp_path / "my.store")
    text = render(report(tmp_path / "home", "small"), "md")
    assert "no intervals over videos, the data cannot be opened" in text
    assert "Nothing can be compared" in text


@pytest.mark.usefixtures("drawn_figures")
def test_a_search_tells_winner_optimism_and_importance(search: Findings) -> None:
    assert search.winner is not None
    assert search.search is not None
    text = render(search, "md")
    assert f"Trial {search.winner.number} is best: val/SumR" in text
    assert "on new videos expect about" in text
    assert search.selection is not None
    assert search.selection.candidates == 48
    assert search.search.importance.named == ("losses.margin",)
    assert "these stand out from chance: losses.margin" in text
    page = render(search, "html")
    assert page.count("<figure>") == 7


def test_a_small_search_says_that_it_is_too_small(tmp_path: Path) -> None:
    run(tmp_path, SEARCH, "search.trials=5")
    text = render(report(tmp_path, "small"), "md")
    assert "5 trials of 2 epochs cannot show which parameter mattered" in text


def test_a_confirmed_search_shows_both_values(tmp_path: Path) -> None:
    run(tmp_path, SEARCH, "confirm={top: 2, seeds: 3}")
    found = report(tmp_path, "small")
    text = render(found, "md")
    assert "is the best on fresh seeds: val/SumR" in text
    assert found.search is not None
    best = found.search.confirmed[0]
    chosen = (best.searched.value or 0.0) > best.mean
    assert ("a chosen value is optimistic" in text) == chosen
    assert ("its fresh runs are as good or better" in text) == (not chosen)
    assert "The best of the search, run again on seeds that did not choose them" in text
    assert found.selection is not None
    assert found.selection.candidates == 48
    assert report_numbers(found)["search"]["confirmed"][0]["runs"][0]["confirms"] is not None


@pytest.mark.parametrize("wanted", FORMATS)
def test_a_sweep_without_a_complete_trial_has_a_report(tmp_path: Path, wanted: str) -> None:
    run(tmp_path, LADDER, "ablation.seeds=1", function="dying")
    text = render(report(tmp_path, "small"), wanted)  # type: ignore[arg-type]
    assert "No trial is complete yet: there is no answer." in text


def test_a_row_with_failed_runs_is_behind_and_that_is_said(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.seeds=2", function="failing")
    text = render(report(tmp_path, "small"), "md")
    assert "baseline has the best mean of the rows with the most complete runs; no row is" in text


@pytest.mark.usefixtures("drawn_figures")
def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    run(tmp_path, LADDER, f"question='{HOSTILE}'")
    found = report(tmp_path, "small")
    assert render(found, "html").count("<script") == 2
    assert "\\end{document} |" not in render(found, "tex").rpartition("\\end{document}")[0]
    assert json.loads(render(found, "json"))["question"] == HOSTILE
    compiled(render(found, "tex"), tmp_path)


def test_latex_compiles(ladder: Findings, search: Findings, tmp_path: Path) -> None:
    for found in (ladder, search):
        compiled(render(found, "tex"), tmp_path)


def test_the_command_writes_to_stdout_or_a_file(ladder_home: Path, tmp_path: Path) -> None:
    shown = prvr("report", "small", "--home", ladder_home, cwd=tmp_path)
    assert shown.code == 0
    assert shown.out.startswith("# Which steps are real?")
    target = tmp_path / "out.html"
    more = ("--format", "html", "--output", target)
    written = prvr("report", "small", "--home", ladder_home, *more, cwd=tmp_path)
    assert written.out == ""
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.soak
def test_no_torch_is_loaded_for_a_report(ladder_home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from orchestrator.report.publishing import render, report; "
        f"render(report(Path({str(ladder_home)!r}), 'small'), 'html'); "
        "assert not {'torch', 'ray', 'mlflow'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_sweep_is_compared(ladder_home: Path, tmp_path: Path) -> None:
    run(ladder_home, LADDER, "name=other", "ablation.variants={better: {losses.margin: 0.3}}")
    more = ("--compare", "other", "--format", "json")
    done = prvr("report", "small", "--home", ladder_home, *more, cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["against"]
    missing = prvr("report", "small", "--home", ladder_home, "--compare", "odd", cwd=tmp_path)
    assert missing.code == 2
    assert "no sweep 'odd'" in missing.err


def test_the_protocol_of_the_field_is_labelled(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "protocol=paper", "ablation.seeds=2")
    text = render(report(tmp_path, "small"), "md")
    assert ", protocol paper" in text.splitlines()[2]
    assert "selected on the split that is reported here" in text
    assert "protocol paper: val is both selected on and reported" in render_status(
        read_status(tmp_path, "small")
    )

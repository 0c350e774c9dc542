"""Frozen features in reports: as rows, against training, and absent where they say nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.report.publishing import render, report
from orchestrator.report.yardstick import yardstick
from orchestrator.spec.data import open_data
from orchestrator.statistics.comparison import Verdict
from orchestrator.study.frozen_ranks import keep_frozen_ranks
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run, spec_of
from tests.prvr_model.retrieval.planted import planted


def sweep(home: Path, text: str, *overrides: str, mismatch: float) -> None:
    """A finished sweep on features that retrieve a share `1 - mismatch` of the captions."""
    store = planted(home / "store", mismatch=mismatch, splits=("train", "val", "test"))
    overrides = (f"data={store}", *overrides)
    run(home, text, *overrides)
    spec = spec_of(text, *overrides)
    keep_frozen_ranks(spec, open_data(spec.data, home, print), home, print)


def test_training_above_the_frozen_features_is_said_everywhere(tmp_path: Path) -> None:
    better = "ablation.variants={better: {losses.margin: 0.3}}"
    sweep(tmp_path, LADDER, better, "ablation.seeds=2", mismatch=0.9)
    found = report(tmp_path, "small")
    assert found.yardstick is not None
    assert found.ablation is not None
    maximum, segments = found.yardstick.rows
    row = found.ablation.rows[1]
    strongest = found.yardstick.against_strongest("better")
    assert strongest is not None
    best = max(maximum.recalls["SumR"], segments.recalls["SumR"])
    assert strongest.difference == pytest.approx(np.mean(row.values("val/SumR")) - best)
    assert strongest.verdict is Verdict.REAL
    assert strongest.criterion.comparisons == 2 * len(found.ablation.rows)
    sentence = "Training beats the frozen features: better is above their "
    for wanted in ("md", "tex", "html"):
        text = render(found, wanted)  # type: ignore[arg-type]
        assert sentence in text
        # Recalls by own and by relevant videos, of rows and beside the winner, then differences of
        # two rows; nothing was scored on test here.
        assert text.count("frozen:maximum") == 2 + 2 + 2
        assert f"{segments.recalls['SumR']:.1f}" in text
        assert "Differences of SumR from the frozen features, paired by video" in text
    numbers = json.loads(render(found, "json"))["yardstick"]
    assert numbers["statement"].startswith(sentence)
    assert [each["name"] for each in numbers["rows"]] == ["frozen:maximum", "frozen:segments"]
    assert numbers["rows"][0]["test"].keys() == maximum.recalls.keys()
    low, high = numbers["rows"][0]["interval"]
    assert low < maximum.recalls["SumR"] < high
    assert len(numbers["comparisons"]) == 4


def test_training_below_the_frozen_features_is_said(tmp_path: Path) -> None:
    sweep(tmp_path, LADDER, "ablation.variants={}", mismatch=0.0)
    found = report(tmp_path, "small")
    sentence = "Training does not reach the frozen features: baseline is below their "
    assert sentence in render(found, "md")
    yardstick_of_all = found.yardstick
    assert yardstick_of_all is not None
    assert yardstick_of_all.against_strongest("nobody") is None
    # A metric whose ranks nobody keeps has the rows alone.
    objective = found.data.spec.objective.model_copy(update={"metric": "val/clip/SumR"})
    found.data.spec = found.data.spec.model_copy(update={"objective": objective})
    alone = yardstick(found.data, (), None)
    assert alone is not None
    assert (alone.table, alone.rows[0].interval) == (None, None)
    assert alone.rows[0].recalls == yardstick_of_all.rows[0].recalls
    file, _ = sorted((tmp_path / "frozen").iterdir())
    file.write_bytes(b"torn")
    found = report(tmp_path, "small")
    assert found.yardstick is None
    assert f"{file} cannot be read" in render(found, "md")


def test_one_run_shows_nothing_about_training(tmp_path: Path) -> None:
    sweep(tmp_path, SEARCH, "search.trials=2", mismatch=0.5)
    text = render(report(tmp_path, "small"), "md")
    assert "## Against the frozen features" in text
    assert "for this one model on new videos); whether training beats them takes two seeds." in text
    assert "not shown (1 shared seed; needs 2 or more)" in text

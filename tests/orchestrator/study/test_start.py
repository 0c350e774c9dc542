"""What a search begins with: the published setting, given points, and trials of earlier sweeps."""

from pathlib import Path

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.study.earlier_trials import EARLIER, earlier_trials
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec

SPACE = (
    "search.parameters={losses.tau: {type: float, low: 0.5, high: 0.9}, losses.cross_branch: "
    "{type: categorical, choices: [fixed, adaptive]}, model.merge_ratio: {type: float, low: 0.4, "
    "high: 1.0}}"
)
POINT = "{losses.tau: 0.61, losses.cross_branch: fixed}"


def run(home: Path, *overrides: str) -> StudyReader:
    spec = small_spec(SPACE, *overrides)
    function = "tests.orchestrator.executors.fake_trials:rising"
    run_sweep(spec, "/nowhere", FINGERPRINT, home, executor="inline", function=function)
    return StudyReader.open(study_url(home), spec.name)


def test_given_points_come_first(tmp_path: Path) -> None:
    study = run(tmp_path, f"start={{published: true, points: [{POINT}, {{losses.tau: 0.7}}]}}")
    first, second, third, *others = [trial.parameters for trial in study.summaries()]
    # The published merge schedule is none of the ratios, so the setting keeps it.
    assert first == {"losses.tau": 0.8, "losses.cross_branch": "adaptive"}
    assert (second["losses.tau"], second["losses.cross_branch"]) == (0.61, "fixed")
    assert 0.4 <= second["model.merge_ratio"] <= 1
    assert third["losses.tau"] == 0.7
    assert len(others) == 3
    assert all(len(parameters) == 3 for parameters in others)


def test_trials_of_an_earlier_sweep_are_known_and_not_counted(tmp_path: Path) -> None:
    run(tmp_path, "name=first", "search.trials=12")
    informed = run(tmp_path, "name=second", "start.from=first", "search.sampler=tpe")
    kept = informed.attributes[EARLIER]
    assert [trial["number"] for trial in kept] == list(range(12))
    assert informed.num_asked() == 6
    cold = run(tmp_path, "name=cold", "search.sampler=tpe")
    # A cold search begins at random; this one has seen twelve trials and draws by them.
    drawn = [[trial.parameters for trial in study.summaries()] for study in (informed, cold)]
    assert drawn[0][0] != drawn[1][0]
    run(tmp_path / "copy", "name=first", "search.trials=12")
    same = run(tmp_path / "copy", "name=second", "start.from=first", "search.sampler=tpe")
    assert [trial.parameters for trial in same.summaries()] == drawn[0]


def test_earlier_sweeps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    run(tmp_path, "name=first", "objective.metric=val/R1", "early_stopping.max_epochs=2")
    run(
        tmp_path,
        "name=other",
        "search.parameters={losses.margin: {type: float, low: 0.1, high: 1}}",
    )
    spec = small_spec(SPACE, "start.from=[first, other, gone]")
    with pytest.raises(SpecError) as caught:
        earlier_trials(spec, FINGERPRINT, tmp_path)
    found = caught.value.problems
    assert "start.from: first has objective val/R1, this sweep val/SumR; allowed: the same" in found
    assert any("other does not search losses.tau" in problem for problem in found)
    assert any("gone" in problem for problem in found)
    small = small_spec(SPACE, "start.from=first", "objective.metric=val/R1")
    with pytest.raises(SpecError, match="has epochs 2, this sweep 3"):
        earlier_trials(small, FINGERPRINT, tmp_path)
    with pytest.raises(SpecError, match="has data "):
        earlier_trials(small, "0" * 64, tmp_path)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        ("{points: [{losses.tau: 0.95}]}", "losses.tau: found 0.95; allowed: 0.5 to 0.9"),
        ("{points: [{losses.tua: 0.6}]}", "unknown parameter 'losses.tua'"),
        ("{points: [{}]}", "start.points.0: found {}; allowed: a mapping of searched parameters"),
        ("{from: [a, a]}", "start.from: found a twice"),
        ("{points: [" + ", ".join([POINT] * 7) + "]}", "found 7 points with search.trials 6"),
    ],
)
def test_a_start_that_cannot_be(start: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        small_spec(SPACE, f"start={start}")
    assert problem in str(caught.value)


def test_a_published_setting_that_cannot_be_trained_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        small_spec(SPACE, "start.published=true", "settings.model.num_frames=64")
    assert "start.published=true: cannot be trained with these settings" in str(caught.value)
    assert "and a value of model.merge_ratio" in str(caught.value)

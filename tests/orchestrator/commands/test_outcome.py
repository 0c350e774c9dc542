"""What a user is told where MLflow lacks something: the command that remedy it."""

from pathlib import Path

import pytest

from orchestrator.commands.outcome import show
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.launch import LaunchResult
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.run import SweepResult
from orchestrator.tracking.model_version import RegisteredVersion
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.helpers import small_spec

BEST = TrialSummary(0, TrialState.COMPLETE, {}, 1.0, 1, 1, "", "", None)
SCORES = dict.fromkeys(("R1", "R5", "R10", "R100", "SumR"), 1.0)
VERSION = RegisteredVersion("prvr-builtin", "1", 0, 1.0, "champion", "there was no champion")


def warning(
    capsys: pytest.CaptureFixture[str],
    home: Path,
    *overrides: str,
    best: TrialSummary | None = BEST,
    registered: tuple[RegisteredVersion, ...] = (),
    test: dict[str, float] | None = None,
    uri: str = "http://127.0.0.1:9",
    is_unscored: bool = False,
) -> str:
    sweep = SweepResult("small", "sqlite://", str(home), {}, best, False, ())
    problem = "it cannot be reached"
    result = LaunchResult(sweep, registered, test, problem, is_unscored=is_unscored)
    locations = SweepLocations(home, None, TrackingStore.of(uri, home))
    assert show(result, locations, small_spec(*overrides), as_json=False) == 1
    return capsys.readouterr().err


def test_metrics_come_by_sync(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remedy = f"it cannot be reached; once that is fixed, `prvr-sweep sync small --home {tmp_path}`"
    assert f"{remedy} sends the rest\n" in warning(
        capsys, tmp_path, registered=(VERSION,), test=SCORES
    )
    assert f"{remedy} sends the rest\n" in warning(capsys, tmp_path, best=None)
    assert f"{remedy} sends the rest\n" in warning(capsys, tmp_path, "register.top=0")


def test_a_model_comes_by_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"`prvr-sweep resume small --home {tmp_path}`"
    assert f"{command} sends the rest and registers the model\n" in warning(capsys, tmp_path)


def test_a_score_comes_by_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = warning(capsys, tmp_path, registered=(VERSION,), is_unscored=True)
    assert f"`prvr-sweep resume small --home {tmp_path}` sends the rest\n" in said


def test_where_test_is_not_scored_at_all_no_score_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = warning(capsys, tmp_path, "protocol=paper", registered=(VERSION,))
    assert f"`prvr-sweep sync small --home {tmp_path}` sends the rest\n" in said


def test_an_address_that_is_not_kept_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = warning(capsys, tmp_path, uri="http://me:secret@127.0.0.1:9")
    assert f"resume small --home {tmp_path} --tracking-uri http://me:PASSWORD@127.0.0.1:9`" in said

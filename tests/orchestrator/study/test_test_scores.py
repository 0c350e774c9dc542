"""Scores on test: made once, in the report, without a GPU where there is none, and no obstacle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from orchestrator import cli
from orchestrator.study import test_scores as scoring
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.test_scores import kept_scores
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from prvr_model.retrieval import evaluation
from prvr_model.training import devices
from prvr_model.training.devices import Devices
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.helpers import small_spec

Run: TypeAlias = Callable[..., tuple[int, dict[str, Any], str]]
"""Runs a command; gives its exit code, its JSON and what it said on stderr."""


@pytest.fixture
def launch(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    (home / "tiny.yaml").write_text(TINY_SPACE)

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = cli.run([*arguments, "--home", str(home), "--executor", "inline", "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return run


def test_what_was_scored_is_in_the_report_and_not_scored_again(
    launch: Run,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, first, _ = launch("launch", f"{home}/tiny.yaml")
    assert code == 0
    scores = kept_scores(StudyReader.open(study_url(home), "tiny"))
    assert list(scores) == [first["best_trial"]]
    page = (home / "tiny/report.html").read_text()
    assert "Test, scored once, for what was selected on validation" in page
    numbers = json.loads((home / "tiny/report.json").read_text())
    # Generated data has no space that text and video share.
    assert (numbers["yardstick"], (home / "frozen").exists()) == (None, False)
    (test,) = numbers["test"].values()
    assert test["metrics"] == first["test"]
    assert test["device"] == "cpu"
    assert test["intervals"].keys() == {"R1", "R5", "R10", "R100", "SumR"}
    client = connect(TrackingStore.of_home(home))
    version = client.get_model_version("prvr-synthetic", "1")
    for text in ("## Data\n\nsynthetic, fingerprint", "not recorded", "| validation SumR |",
                 "| test SumR ", " to ", "## Limits"):  # fmt: skip
        assert text in version.description
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["test/SumR"] == pytest.approx(first["test"]["SumR"])

    def again(*_: object) -> None:
        raise AssertionError("scored twice")

    monkeypatch.setattr(evaluation, "evaluate_saved", again)
    code, second, _ = launch("resume", "tiny")
    assert (code, second["test"], second["version"]) == (0, first["test"], first["version"])


@pytest.mark.soak
def test_a_score_that_fails_loses_no_model(
    launch: Run,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate_saved", broken)
        code, found, err = launch("launch", f"{home}/tiny.yaml")
    assert (code, found["test"], found["alias"]) == (1, None, "champion")
    assert f"not scored on test: trial {found['best_trial']}: RuntimeError: no room" in err
    assert "`prvr-sweep resume tiny" in err
    client = connect(TrackingStore.of_home(home))
    version = client.get_model_version("prvr-synthetic", "1")
    assert "it could not be scored on test" in version.description
    code, found, _ = launch("resume", "tiny")
    assert (code, found["version"]) == (0, "1")
    assert found["test"]["SumR"] > 0
    version = client.get_model_version("prvr-synthetic", "1")
    assert f"on test R1 {found['test']['R1']:.2f}" in version.description
    assert json.loads(version.tags["prvr.test"])["SumR"] == found["test"]["SumR"]


@pytest.mark.parametrize("gpus", [(), ("NVIDIA H100",)])
def test_a_driver_without_a_gpu_scores_on_its_cpus(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[str, ...]
) -> None:
    monkeypatch.setattr(devices, "find_devices", lambda: Devices("2", "13", gpus, None))
    spec = small_spec("resources.gpus=1")
    assert spec.speed.device == "cuda"
    assert scoring.speed_here(spec).device == ("cuda" if gpus else "cpu")

"""What becomes of a front: who is registered, what is exported and kept, another champion."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import orchestrator
from orchestrator import cli
from orchestrator.base.errors import RegistryError
from orchestrator.executors.trial_runner import train_trial
from orchestrator.study.confirmation import crowned
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep import free_checkpoints as freeing
from orchestrator.sweep import launch as launching
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.promotion import _complete_trial
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from prvr_model.files.checkpoint_header import BEST
from prvr_model.reporting import Report
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.report.sweeps import COSTLY, run

# Models of five sizes, the last of which no limit allows.
SPACE = (
    TINY_SPACE.replace("  model.hidden_size: 8\n", "")
    .replace(
        "optimizer.learning_rate: {type: categorical, choices: [1e-3, 1e-2]}",
        "model.hidden_size: {type: categorical, choices: [4, 8, 12, 16, 32]}",
    )
    .replace(
        "search:\n",
        "objectives: [{metric: val/SumR}, {metric: cost/bytes_per_video}]\n"
        "limits: {cost/bytes_per_video: 2000}\ncrown: knee\nregister: {top: 2}\nsearch:\n",
    )
)


def prvr(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.run(list(arguments)) == code
    shown = capsys.readouterr()
    return shown.err if code else shown.out


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> orchestrator.Sweep:
    """A sweep of made-up trials."""
    home = tmp_path_factory.mktemp("costly")
    run(home, COSTLY, function="costly")
    return orchestrator.open_sweep("small", home)


def test_the_crowned_trial_comes_before_others_of_the_front(ended: orchestrator.Sweep) -> None:
    best, front = ended.best, ended.front()
    assert best is not None
    assert best.number != front[0].number
    others = [trial.number for trial in front if trial.number != best.number]
    ranked = [trial.number for trial in crowned(ended.study, 99)]
    assert ranked[: len(front)] == [best.number, *others]
    values = [trial.value or 0 for trial in crowned(ended.study, 99)[len(front) :]]
    assert values == sorted(values, reverse=True)


def test_the_table_of_trials_has_costs_and_limits(ended: orchestrator.Sweep) -> None:
    table = ended.trials()
    size, seconds = "cost/bytes_per_video", "cost/train_s"
    assert table.schema.field(size).metadata == {b"unit": b"bytes"}
    assert table.schema.field(seconds).metadata == {b"unit": b"s"}
    for row, trial in zip(table.to_pylist(), ended.study.summaries(), strict=True):
        assert row[size] == trial.costs[size]
        over = trial.costs[size] > 20000 or trial.costs.get(seconds, 0) > 50
        assert bool(row["over_limit"]) == over


def test_gc_keeps_the_front(ended: orchestrator.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeing, "registered_versions", lambda *_: ())
    monkeypatch.setattr(freeing, "_FEWEST_KEPT", 1)
    for trial in ended.study.summaries():
        if trial.epochs:
            (Path(trial.folder) / BEST).write_bytes(b"weights")

    def kept(keep: int | None) -> set[int]:
        found = freeing.free_checkpoints("small", ended.home, keep=keep, dry_run=True)
        return {file.file.trial for file in found.decision.kept}

    front = {trial.number for trial in ended.front()}
    assert len(front) > 2
    assert kept(None) >= front
    assert not kept(1) >= front


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("4", "trial '4' of sweep 'small' was not trained, since cost/bytes_per_video is 30,720, "),
        ("77", "trial '77' of sweep 'small' does not exist; allowed: a complete one: 0, 1, 2, 3, "),
        ("x", "trial 'x' of sweep 'small' does not exist"),
    ],
)
def test_what_cannot_become_a_version_is_refused(
    ended: orchestrator.Sweep, number: str, said: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        _complete_trial(ended.study, number)
    assert str(caught.value).startswith(said)


def test_promote_asks_for_a_version_or_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    said = "found tiny alone; allowed: MODEL VERSION, or SWEEP/NUMBER for a trial"
    assert said in prvr(capsys, "promote", "tiny", code=2)


def by_size(request: TrialRequest, report: Report) -> None:
    """Trains, and reports a value that follows from the model's size: the second is the knee."""
    value = {4: 10.0, 8: 30.0, 12: 31.0, 16: 33.0}[request.settings.model.hidden_size]
    train_trial(
        request, lambda row: report(replace(row, metrics={**row.metrics, "val/SumR": value}))
    )


@pytest.mark.soak
def test_a_front_from_its_launch_to_another_champion(
    tmp_path: Path,
    new_home: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = new_home(tmp_path / "home")
    (home / "tiny.yaml").write_text(SPACE)
    made = partial(SweepContext, trial_function=f"{__name__}:by_size")
    monkeypatch.setattr(launching, "SweepContext", made)
    sweep = orchestrator.launch(home / "tiny.yaml", home, executor="inline")

    def registered() -> list[int]:
        return [record["number"] for record in sweep.study.attributes["registered"]]

    assert [trial.number for trial in sweep.front()] == [3, 2, 1, 0]
    assert registered() == [1, 3]
    client = connect(TrackingStore.of_home(home))
    champion = client.get_model_version_by_alias("prvr-synthetic", "champion")
    assert champion.tags["prvr.trial"] == "1"
    card = champion.description or ""
    assert re.search(r"\| bytes per video +\| +960 \|", card)
    assert all(f"| {name} " in card for name in ("weights", "ms per query", "s of training"))
    told = json.loads(prvr(capsys, "gc", "tiny", "--home", str(home), "--dry-run", "--json"))
    assert {file["trial"] for file in told["kept"]} == {0, 1, 2, 3}

    shown = prvr(capsys, "promote", "tiny/0", "--home", str(home))
    assert "registered: trial tiny/0 as prvr-synthetic version 3\n" in shown
    assert "champion of prvr-synthetic: version 3 (Trial 0 of sweep tiny: val/SumR 10.00" in shown
    assert "; on test R1 " in shown.splitlines()[1]
    assert registered() == [1, 3, 0]
    experiment = client.get_experiment_by_name("prvr-synthetic")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    tags = {run_.data.tags.get("prvr.trial", "sweep"): run_.data.tags for run_ in runs}
    assert tags["0"]["prvr.registered"] == "prvr-synthetic/3"
    assert tags["sweep"]["prvr.registered"].endswith(", prvr-synthetic/3")
    assert tags["sweep"]["prvr.best_trial"] == "1"
    fronts = [tags[str(number)].get("prvr.front") for number in range(5)]
    assert fronts == ["member", "knee", "member", "member", None]
    assert tags["4"]["prvr.over_limit"].startswith("cost/bytes_per_video is 3,840, ")
    again = prvr(capsys, "promote", "tiny/0", "--home", str(home))
    assert "as prvr-synthetic version 3\n" in again

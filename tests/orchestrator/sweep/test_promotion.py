"""A search with a front, from its launch to another of its members as the champion."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import cli
from orchestrator.executors.trial_runner import train_trial
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep import launch as launch_module
from orchestrator.sweep.context import SweepContext
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from prvr_model.reporting import Report
from tests.orchestrator.command_line import TINY_SPACE

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


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]
) -> orchestrator.Sweep:
    home = new_home(tmp_path_factory.mktemp("front") / "home")
    (home / "tiny.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        made = partial(SweepContext, trial_function=f"{__name__}:by_size")
        patch.setattr(launch_module, "SweepContext", made)
        return orchestrator.launch(home / "tiny.yaml", home, executor="inline")


def by_size(request: TrialRequest, report: Report) -> None:
    """Trains, and reports a value that follows from the model's size: the second is the knee."""
    value = {4: 10.0, 8: 30.0, 12: 31.0, 16: 33.0}[request.settings.model.hidden_size]
    train_trial(
        request, lambda row: report(replace(row, metrics={**row.metrics, "val/SumR": value}))
    )


def registered(sweep: orchestrator.Sweep) -> list[int]:
    return [record["number"] for record in sweep.study.attributes["registered"]]


def prvr(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.run(list(arguments)) == code
    shown = capsys.readouterr()
    return shown.err if code else shown.out


def test_the_crowned_trial_is_registered_before_others_of_the_front(
    sweep: orchestrator.Sweep,
) -> None:
    assert [trial.number for trial in sweep.front()] == [3, 2, 1, 0]
    assert sweep.best is not None
    assert sweep.best.number == 1
    assert registered(sweep)[:2] == [1, 3]
    client = connect(TrackingStore.of_home(sweep.home))
    champion = client.get_model_version_by_alias("prvr-synthetic", "champion")
    assert champion.tags["prvr.trial"] == "1"
    card = champion.description or ""
    assert "What it costs" in card
    assert re.search(r"\| bytes per video +\| +960 \|", card)
    assert all(f"| {name} " in card for name in ("weights", "ms per query", "s of training"))


def test_what_gc_keeps_can_become_the_champion(
    sweep: orchestrator.Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(prvr(capsys, "gc", "tiny", "--home", str(sweep.home), "--dry-run", "--json"))
    assert {file["trial"] for file in told["kept"]} == {0, 1, 2, 3}
    told = json.loads(
        prvr(capsys, "gc", "tiny", "--home", str(sweep.home), "--dry-run", "--json", "--keep", "1")
    )
    assert told["keep"] == 1


def test_every_member_can_become_the_champion(
    sweep: orchestrator.Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = prvr(capsys, "promote", "tiny/0", "--home", str(sweep.home))
    assert "registered: trial tiny/0 as prvr-synthetic version 3\n" in shown
    assert "champion of prvr-synthetic: version 3 (Trial 0 of sweep tiny: val/SumR 10.00" in shown
    assert "; on test R1 " in shown.splitlines()[1]
    assert registered(sweep) == [1, 3, 0]
    client = connect(TrackingStore.of_home(sweep.home))
    runs = client.search_runs([client.get_experiment_by_name("prvr-synthetic").experiment_id])
    tags = {run.data.tags.get("prvr.trial", "sweep"): run.data.tags for run in runs}
    assert tags["0"]["prvr.registered"] == "prvr-synthetic/3"
    assert tags["sweep"]["prvr.registered"].endswith(", prvr-synthetic/3")
    assert tags["sweep"]["prvr.best_trial"] == "1"
    fronts = [tags[str(number)].get("prvr.front") for number in range(5)]
    assert fronts == ["member", "knee", "member", "member", None]
    assert tags["4"]["prvr.over_limit"].startswith("cost/bytes_per_video is 3,840, ")
    again = prvr(capsys, "promote", "tiny/0", "--home", str(sweep.home))
    assert "as prvr-synthetic version 3\n" in again


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("tiny/4",),
            "trial '4' of sweep 'tiny' was not trained, since cost/bytes_per_video is 3,",
        ),
        (("tiny/77",), "trial '77' of sweep 'tiny' does not exist; allowed: a complete one: 0, 1,"),
        (("tiny/x",), "trial 'x' of sweep 'tiny' does not exist"),
        (("tiny",), "found tiny alone; allowed: MODEL VERSION, or SWEEP/NUMBER for a trial"),
        (("teny/1",), "no sweep 'teny'"),
    ],
)
def test_what_cannot_become_a_version_is_refused(
    sweep: orchestrator.Sweep,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert said in prvr(capsys, "promote", *arguments, "--home", str(sweep.home), code=2)


def test_the_table_of_trials_has_costs_and_limits(
    sweep: orchestrator.Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "trials.parquet"
    prvr(capsys, "export", "tiny", str(file), "--home", str(sweep.home))
    schema = pq.read_schema(file)
    assert schema.field("cost/bytes_per_video").metadata == {b"unit": b"bytes"}
    table = pandas.read_parquet(file).set_index("number")
    assert table["cost/bytes_per_video"].tolist() == [480.0, 960.0, 1440.0, 1920.0, 3840.0]
    assert table["over_limit"].notna().tolist() == [False] * 4 + [True]
    assert table["over_limit"][4] == "cost/bytes_per_video is 3,840, allowed: at most 2,000"

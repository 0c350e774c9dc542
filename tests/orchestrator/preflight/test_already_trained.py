"""What a plan leaves out since it is complete already."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight.already_trained import known_runs
from orchestrator.preflight.plan import plan_here
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.store.format import read_manifest
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.orchestrator.helpers import run_sweep

TINY = "{train_videos: 4, val_videos: 2, test_videos: 2, video_dim: 8, text_dim: 8}"
ABLATION = """\
name: table
question: Does tau matter?
data: builtin
settings: {optimizer.schedule_epochs: 3, losses.hard_negative_epoch: 0}
ablation:
  design: one_in
  baseline: {set: {losses.tau: 0.5}}
  variants:
    higher: {losses.tau: 0.7}
    highest: {losses.tau: 0.9}
  seeds: 2
early_stopping: {method: none, max_epochs: 3}
"""
ONE_MORE = "ablation.variants.much={losses.tau: 0.95}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = SyntheticSettings(train_videos=4, val_videos=2, test_videos=2, video_dim=8, text_dim=8)
    write_synthetic(tmp_path / "tiny.store", made, name="tiny")
    return tmp_path / "tiny.store"


def spec_of(store: Path, *overrides: str, text: str = ABLATION) -> SweepSpec:
    return read_spec(text, [f"data={store}", *overrides], "table.yaml")


def run(spec: SweepSpec, store: Path, home: Path, storage: Path | None = None) -> None:
    run_sweep(
        spec,
        store,
        read_manifest(store).fingerprint,
        home,
        str(storage) if storage else None,
        executor="inline",
        function="tests.orchestrator.executors.whole_trials:training",
    )


def test_complete_runs_of_the_home_cost_nothing(store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    spec = spec_of(store)
    assert known_runs(spec, home, None) == 0
    run(spec, store, home)
    more = spec_of(store, "name=more", ONE_MORE)
    assert known_runs(more, home, None) == 6
    plan = plan_here(more, known=6)
    assert (plan.trials, plan.epochs.most, plan.epochs.expected) == (8, 6, 6)
    whole = plan_here(more)
    assert plan.seconds is not None
    assert whole.seconds is not None
    assert plan.seconds.most < whole.seconds.most
    assert "6 of them need no training, their results are known; 2 to train" in render_plan(plan)
    assert "no training" not in render_plan(whole)


def test_nothing_is_left_to_train(store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(spec_of(store), store, home)
    plan = plan_here(spec_of(store), known=known_runs(spec_of(store), home, None))
    assert plan.seconds is not None
    assert (plan.known, plan.epochs.most, plan.seconds.most) == (6, 0, 0)
    assert "0 to train" in render_plan(plan)


def test_a_storage_that_two_homes_share_knows_them(store: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    run(spec_of(store), store, tmp_path / "one", storage)
    assert known_runs(spec_of(store), tmp_path / "two", str(storage)) == 6
    assert known_runs(spec_of(store), tmp_path / "two", None) == 0


def test_other_data_and_reuse_false_know_nothing(store: Path, tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other.store"
    run(spec_of(store), store, home)
    write_synthetic(other, SyntheticSettings(train_videos=5, val_videos=2), name="other")
    assert known_runs(spec_of(other), home, None) == 0
    assert known_runs(spec_of(store, "reuse=false"), home, None) == 0


def test_points_of_a_grid_and_of_no_sampler(store: Path, tmp_path: Path) -> None:
    text = ABLATION.partition("ablation:")[0] + (
        "search: {sampler: grid, parameters: {losses.tau: {type: categorical, "
        "choices: [0.5, 0.8]}}}\nearly_stopping: {method: none, max_epochs: 3}\n"
    )
    home = tmp_path / "home"
    run(spec_of(store, "ablation.seeds=1"), store, home)
    assert known_runs(spec_of(store, text=text), home, None) == 1
    drawn = spec_of(store, "search.sampler=random", "search.trials=4", text=text)
    assert known_runs(drawn, home, None) == 0


def test_data_that_is_still_to_be_made_has_no_results(tmp_path: Path) -> None:
    spec = read_spec(ABLATION, [f"data={{synthetic: {TINY}}}"], "table.yaml")
    (tmp_path / "home").mkdir()
    assert known_runs(spec, tmp_path / "home", None) == 0


def test_the_command_looks_into_the_home(store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(spec_of(store), store, home)
    space = tmp_path / "table.yaml"
    space.write_text(ABLATION)
    arguments = ["plan", str(space), "--set", f"data={store}", "--home", str(home), "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["known"] == 6

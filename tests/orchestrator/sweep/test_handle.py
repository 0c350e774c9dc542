"""The Python API, as a notebook uses it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest

import orchestrator
from orchestrator import cli
from orchestrator.base.errors import SweepExistsError, SweepNotFoundError
from orchestrator.evaluation.matrix import Target, evaluate
from orchestrator.evaluation.subjects import SubjectOptions, find_subjects
from orchestrator.spec.loading import load_spec
from orchestrator.study.outcomes import ranks_of
from orchestrator.study.test_scores import kept_scores
from orchestrator.tracking.store import TrackingStore
from tests.locations import ROOT
from tests.orchestrator.command_line import TINY_SPACE


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> orchestrator.Sweep:
    """A sweep of two trials, launched from its file."""
    folder = tmp_path_factory.mktemp("api")
    space = folder / "tiny.yaml"
    space.write_text(TINY_SPACE)
    return orchestrator.launch(space, folder / "home", executor="inline")


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'mlflow', 'optuna', 'pyarrow', 'numpy'}"
    script = f"import orchestrator, sys; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_a_name_that_it_does_not_offer_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        _ = orchestrator.lunch


def test_its_ranks_and_queries_give_the_recall(sweep: orchestrator.Sweep) -> None:
    assert sweep.best is not None
    ranks, queries = sweep.ranks().to_pandas(), sweep.queries().to_pandas()
    own = ranks[ranks.trial == sweep.best.number].merge(queries, on="query")
    assert len(own) == len(queries) > 0
    recalls = sum(100 * (own["rank"] <= depth).mean() for depth in (1, 5, 10, 100))
    assert recalls == pytest.approx(sweep.best.value)
    assert queries.video.nunique() < len(queries)
    assert sweep.queries().schema.field("duration_s").metadata == {b"unit": b"s"}


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_a_table_is_exported(sweep: orchestrator.Sweep, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"epochs.{ending}"
    arguments = ["export", sweep.name, str(file), "--what", "epochs", "--home", str(sweep.home)]
    assert cli.run(arguments) == 0
    reader = {"parquet": pandas.read_parquet, "csv": pandas.read_csv, "arrow": pandas.read_feather}
    found = reader[ending](file)
    is_typed = ending != "csv"
    pandas.testing.assert_frame_equal(
        found, sweep.epochs().to_pandas(), check_exact=is_typed, check_dtype=is_typed
    )
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_an_exported_table_is_read_by_duckdb(sweep: orchestrator.Sweep, tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    assert cli.run(
        ["export", sweep.name, str(file), "--what", "epochs", "--home", str(sweep.home)]
    ) == 0  # fmt: skip
    query = f"select max(\"val/SumR\") from '{file}' group by trial order by trial"
    assert [value for (value,) in duckdb.sql(query).fetchall()] == [
        trial.value for trial in sweep.study.summaries()
    ]


def test_a_table_of_another_kind_is_refused(
    sweep: orchestrator.Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trials.xlsx"
    assert cli.run(["export", sweep.name, str(file), "--home", str(sweep.home)]) == 2
    assert "found trials.xlsx; allowed: a name ending .parquet, .csv, .arrow" in (
        capsys.readouterr().err
    )
    missing = tmp_path / "nowhere" / "trials.csv"
    (tmp_path / "nowhere").write_text("a file")
    assert cli.run(["export", sweep.name, str(missing), "--home", str(sweep.home)]) == 2
    assert f"{missing}: cannot be written" in capsys.readouterr().err


def test_a_launched_sweep_has_a_winner_and_tables(sweep: orchestrator.Sweep) -> None:
    assert sweep.state == "finished"
    trials, epochs = sweep.trials(), sweep.epochs()
    assert trials.column("number").to_pylist() == [0, 1]
    assert trials.column("state").to_pylist() == ["complete"] * 2
    assert trials.column("parameters.optimizer.learning_rate").to_pylist() == [0.001, 0.01]
    assert list(zip(*epochs.select(["trial", "epoch"]).to_pydict().values(), strict=True)) == [
        (0, 1), (0, 2), (1, 1), (1, 2)
    ]  # fmt: skip
    assert sweep.best is not None
    values = epochs.to_pandas().groupby("trial")["val/SumR"].max()
    assert sweep.best.value == values.max()
    assert trials.column("value").to_pylist() == values.tolist()


def test_an_evaluation_of_a_trial_gives_the_ranks_it_recorded(
    sweep: orchestrator.Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also that of the version that it became; test has the metrics that the launch scored."""
    assert sweep.best is not None
    store = next((sweep.home / "stores").iterdir())
    winner, champion = f"tiny/{sweep.best.number}", "models:/prvr-synthetic@champion"
    options = SubjectOptions(sweep.home, TrackingStore.of_home(sweep.home), None, {}, {})
    subjects = find_subjects([winner, champion], options)
    found = evaluate(subjects, [Target.parse(f"{store}:val")])
    for cell in found.cells:
        assert cell.scores.ranks.tolist() == ranks_of(sweep.best).tolist()
    assert [subject.source for subject in subjects] == [winner, "models:/prvr-synthetic/1"]
    code = cli.run(["evaluate", winner, "--on", str(store), "--home", str(sweep.home), "--json"])
    assert code == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    recorded = kept_scores(sweep.study)[sweep.best.number].metrics
    assert {name: each["value"] for name, each in result["own"].items()} == pytest.approx(
        {name: recorded[name] for name in result["own"]}, rel=1e-12
    )
    others = {name: value for name, value in recorded.items() if "/" in name}
    assert result["others"] == others


def test_an_opened_sweep_is_the_same(sweep: orchestrator.Sweep) -> None:
    opened = orchestrator.open_sweep("tiny", sweep.home)
    assert opened.trials() == sweep.trials()
    assert opened.report().startswith("# ")
    assert '"winner"' in opened.report("json")
    with pytest.raises(SweepNotFoundError, match="no sweep 'tny'"):
        orchestrator.open_sweep("tny", sweep.home)


@pytest.mark.soak
def test_a_sweep_gets_more_trials(sweep: orchestrator.Sweep, tmp_path: Path) -> None:
    space = tmp_path / "more.yaml"
    space.write_text(TINY_SPACE.replace("sampler: grid", "sampler: random\n  trials: 1"))
    more = orchestrator.launch(
        space, tmp_path / "home", overrides=("name=more",), executor="inline"
    )
    assert len(more.trials()) == 1
    assert len(orchestrator.resume("more", more.home, trials=2).trials()) == 2


def test_a_launch_refuses_what_the_command_line_refuses(sweep: orchestrator.Sweep) -> None:
    spec = load_spec(sweep.home.parent / "tiny.yaml")
    with pytest.raises(SweepExistsError):
        orchestrator.launch(spec, sweep.home, executor="inline")
    with pytest.raises(TypeError, match="name its path"):
        orchestrator.launch(spec, sweep.home, quick=True)
    with pytest.raises(TypeError, match="executors"):
        orchestrator.launch(
            sweep.home.parent / "tiny.yaml", sweep.home, overrides=("name=new",), executors="inline"
        )


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(TINY_SPACE.replace("name: tiny", "name: cbva"))
    orchestrator.launch("space.yaml", executor="inline")
    cells = json.loads((ROOT / "search_spaces" / "results.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert set(names["best_epochs"]["trial"]) == {0, 1}
    assert Path("trials.parquet").exists()

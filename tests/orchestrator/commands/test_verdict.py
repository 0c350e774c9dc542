"""What a store is worth is said where it is made, where it is shown, and before it is used."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator import cli
from orchestrator.base.errors import LocationError
from orchestrator.commands.data import data
from orchestrator.sweep import launch as launching
from prvr_model.store.reader import FeatureStore
from tests.orchestrator.command_line import TINY_SPACE
from tests.prvr_model.retrieval.planted import planted
from tests.prvr_model.store.corpora import tiny_corpus


def test_an_import_takes_annotation_files_and_ends_with_the_verdict(tmp_path: Path) -> None:
    root = tiny_corpus().write(tmp_path / "root")
    (tmp_path / "moments.csv").write_text(
        "video,caption,start,end\na,Caption 0 of a.,0.5,2\nc,Caption 1 of c.,1,9\n"
    )
    (tmp_path / "lengths.csv").write_text("id,length\na,4\nc,8\n")
    (tmp_path / "labels.jsonl").write_text('{"query_id": "c#enc#0", "gt_video_ids": ["c"]}\n')
    files = {"moments": "moments.csv", "durations": "lengths.csv", "relevance": "labels.jsonl"}
    options = [part for key, name in files.items() for part in (f"--{key}", f"{tmp_path}/{name}")]
    layout = ["--layout", "msc", "--root", str(root), "--collection", "tiny"]
    result = CliRunner().invoke(data, ["import", *layout, *options, str(tmp_path / "s")])
    assert result.exit_code == 0, result.output
    assert "in the form of table: 2 records" in result.stderr
    assert "moments that end past their video and were cut there: 1 ('c#enc#1'" in result.stderr
    lines = result.stdout.splitlines()
    verdict = lines[lines.index("verdict:") :]
    assert "  captions with moments: 2, with verified videos: 1" in verdict
    assert verdict[-1].startswith("  frozen features: text (4) and video (6) have different")
    assert FeatureStore.open(tmp_path / "s").split("val").moments[1] == [[1, 8]]


@pytest.mark.parametrize("mismatch", [0.0, 1.0])
def test_inspect_and_plan_say_whether_features_match(
    mismatch: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = planted(tmp_path / "s", mismatch=mismatch, splits=("train", "val"))
    result = CliRunner().invoke(data, ["inspect", "--json", str(store)])
    verdict = json.loads(result.stdout)["verdict"]
    assert verdict["frozen"]["is_near_chance"] is bool(mismatch)
    shown = CliRunner().invoke(data, ["inspect", str(store)]).stdout
    said = "the features of val retrieve at chance: SumR "
    assert "\nverdict:\n  recipe: not known" in shown
    assert (f"\nwarning: {said}" in shown) is bool(mismatch)
    (tmp_path / "space.yaml").write_text(TINY_SPACE)
    space = [f"{tmp_path}/space.yaml", "--set", f"data={store}"]
    assert cli.run(["plan", *space]) == 0
    assert (f"\nwarning: data: {said}" in capsys.readouterr().out) is bool(mismatch)


def test_a_launch_that_asks_for_labels_which_are_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(TINY_SPACE)
    changes = ["--set", "settings.evaluation.relevance=verified"]
    code = cli.run(["launch", f"{tmp_path}/space.yaml", *changes, "--home", f"{tmp_path}/home"])
    assert code == 3
    error = capsys.readouterr().err
    assert "evaluation.relevance is verified, but generated data has no verified labels" in error


def test_a_launch_asks_the_copy_of_a_store_that_is_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRVR_SWEEP_CACHE", f"{tmp_path}/cache")
    store = planted(tmp_path / "s", mismatch=1.0, splits=("train", "val"))
    (tmp_path / "space.yaml").write_text(TINY_SPACE)

    def stop(*_: object) -> None:
        raise LocationError("far enough")

    monkeypatch.setattr(launching, "_new_outbox", stop)
    changes = ["--set", f"data=file://{store}", "--home", f"{tmp_path}/home"]
    assert cli.run(["launch", f"{tmp_path}/space.yaml", *changes]) != 0
    error = capsys.readouterr().err
    assert "error: far enough" in error
    assert error.count("data: the features of val retrieve at chance: SumR ") == 1

"""`prvr-sweep evaluate`: tables on stdout, what is done on stderr, exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from tests.orchestrator.command_line import Run
from tests.orchestrator.evaluation.test_matrix import export, recipe, write
from tests.orchestrator.report.latex_compiler import compiled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    write(folder / "a.store", recipe("clip-a"))
    write(folder / "b.store", seed=1)
    write(folder / "wide.store", dim=9)
    export(folder / "model")
    (folder / "torn.ckpt").write_bytes(b"no checkpoint")
    return folder


def test_several_models_and_stores_give_a_matrix_and_tables(run: Run, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    out, err = run("evaluate frozen model --transfer --on a.store --on b.store:val")
    assert sorted(folder.rglob("*")) == before
    assert err.splitlines()[-1] == "model on b.store:val"
    lines = out.splitlines()
    assert lines[0] == "# Evaluation"
    overview = lines[lines.index("SumR by own video, with 95 % interval") + 2 :]
    assert overview[0].split() == ["|", "model", "|", "a.store:test", "|", "b.store:val", "|"]
    assert [line.split()[1] for line in overview[2:4]] == ["frozen", "model"]
    assert lines[lines.index("## a.store:test") + 2] == "10 videos, 20 captions."
    assert lines.count("Recalls in percent, by any relevant video") == 2
    assert sum(line.startswith("| model") and "nDCG@10" in line for line in lines) == 2
    assert sum(line.startswith("Moments: R@1") for line in lines) == 2
    assert lines.count("SumR by own video in slices: model against frozen") == 2
    assert "| moment-to-video ratio: 0 to 0.2" in out
    assert "Differences are from frozen, in SumR, paired by query." in out
    assert "over 4 differences" in out
    assert "| baseline" in out
    assert "not shown (p = " in out or "worse (p" in out


def test_a_long_matrix_is_latex_that_fits_the_page(run: Run, folder: Path) -> None:
    export(folder / "exports/2026-11-30/a-model-with-a-long-name")
    shutil.copytree(folder / "a.store", folder / "stores/the_other_one_that_is_for_transfer.store")
    models = "frozen frozen:segments exports/2026-11-30/a-model-with-a-long-name model"
    stores = "--on a.store:test --on stores/the_other_one_that_is_for_transfer.store:test"
    out, err = run(
        f"evaluate {models} --transfer {stores} --on a.store:val --format tex --output m"
    )
    assert not out
    assert err.splitlines()[-1] == "m"
    said = compiled((folder / "m").read_text(), folder)
    assert "Overfull \\hbox" not in said


def test_json_is_one_object(run: Run) -> None:
    out, _ = run("evaluate frozen frozen:segments --baseline frozen:segments --on a.store --json")
    (line,) = out.splitlines()
    found = json.loads(line)
    assert found["baseline"] == "frozen:segments"
    assert [model["name"] for model in found["models"]] == ["frozen", "frozen:segments"]
    assert found["stores"][0]["recipe"]["encoder"] == "clip-a"
    frozen, segments = found["results"]
    assert segments["differences"] == {}
    assert frozen["differences"]["own"]["verdict"] in ("real", "worse", "not shown")
    assert set(frozen["verified"]) - set(frozen["own"]) == {"nDCG10", "mAP"}
    interval = frozen["own"]["SumR"]["interval"]
    assert interval["low"] <= frozen["own"]["SumR"]["value"] <= interval["high"]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("frozen", 2, "Missing option '--on'"),
        ("frozn --on a.store", 2, "model: found 'frozn'; allowed: frozen, "),
        ("frozen --on a.store --set losses.tau=1", 2, "settings of a released checkpoint"),
        ("torn.ckpt --on a.store --set losses.tua=1", 2, "did you mean losses.tau?"),
        ("torn.ckpt --on a.store --set search.trials=1", 2, "--set search: found a key of a"),
        ("torn.ckpt --on a.store", 3, "torn.ckpt: cannot be read as tensors only"),
        ("none.ckpt --on a.store", 3, "none.ckpt: no such checkpoint"),
        ("model --on a.store", 3, "the model's features: not known, the store's: clip-a"),
        ("frozen model --on b.store --on wide.store", 3, "wide.store have 9 values, model takes 6"),
        ("frozen --on none.store", 3, "there is no feature store at"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_evaluated(
    run: Run, line: str, code: int, message: str
) -> None:
    out, err = run(f"evaluate {line}", code)
    assert message in err
    assert not out
    assert " on a.store:test" not in err

"""`resume`, and `launch` of a sweep that is there, as a user runs them; trials in one process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.home import locked_home
from orchestrator.sweep.locations import SweepLocations
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.command_line import TINY_SPACE, Done, prvr
from tests.sweep_content import content

pytestmark = pytest.mark.integration

_SPACE = (
    TINY_SPACE.replace("sampler: grid", "sampler: random\n  trials: 2")
    .replace("schedule_epochs: 2", "schedule_epochs: 4")
    .replace("[1e-3, 1e-2]", "[1e-3, 3e-3, 1e-2]")
    + "speed: {threads: 1}\nregister: {top: 0}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A finished sweep of two trials of two epochs."""
    path = tmp_path_factory.mktemp("resume")
    new_home(path / "prvr-runs")
    (path / "tiny.yaml").write_text(_SPACE)
    done = launch(path)
    assert done.code == 0, done.err
    return path


def launch(folder: Path, *options: str) -> Done:
    return prvr("launch", "tiny.yaml", "--executor", "inline", "--json", *options, cwd=folder)


def trials(folder: Path) -> list[dict[str, Any]]:
    done = prvr("status", "tiny", "--json", cwd=folder)
    found: list[dict[str, Any]] = json.loads(done.out)["trials"]
    return found


def test_the_same_spec_is_answered_with_what_is_there_and_resume(folder: Path) -> None:
    done = launch(folder)
    assert done.code == 2
    assert "(2 complete); it has the same spec: continue it by `prvr-sweep resume tiny`" in done.err


def test_another_spec_is_answered_with_what_differs_place_by_place(folder: Path) -> None:
    options = ("--set", "losses.tau=0.9", "--set", "search.seed=2", "--set", "search.trials=3")
    done = launch(folder, *options)
    assert done.code == 2
    assert "  settings.losses.tau: found 0.9, the sweep has nothing" in done.err
    assert "  search.seed: found 2, the sweep has 1" in done.err
    assert "  search.trials: found 3, the sweep has 2" in done.err
    assert "--trials" not in done.err  # which would not come to the same


def test_a_larger_spec_is_answered_with_the_options_of_resume(folder: Path) -> None:
    done = launch(folder, "--set", "search.trials=3", "--set", "early_stopping.max_epochs=4")
    assert done.code == 2
    assert "extend the sweep by `prvr-sweep resume tiny --epochs 4 --trials 3`" in done.err


def test_a_finished_sweep_runs_nothing_again(folder: Path) -> None:
    before = trials(folder)
    done = prvr("resume", "tiny", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert "2 complete; no trial is left to run" in done.err
    assert trials(folder) == before


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--trials", "1", "the sweep has 2, and a resume takes nothing away"),
        ("--epochs", "1", "the sweep has 2, and a resume takes nothing away"),
        ("--epochs", "5", "end at epoch 4 (optimizer.schedule_epochs)"),
    ],
)
def test_what_is_no_extension_is_refused_with_the_reason(
    folder: Path, option: str, value: str, reason: str
) -> None:
    before = trials(folder)
    done = prvr("resume", "tiny", option, value, cwd=folder)
    assert done.code == 2
    assert reason in done.err
    assert trials(folder) == before


def test_an_unknown_sweep_makes_no_home(tmp_path: Path) -> None:
    done = prvr("resume", "tiny", cwd=tmp_path)
    assert done.code == 2
    assert "no sweep 'tiny'" in done.err
    assert not (tmp_path / "prvr-runs").exists()


def test_a_second_driver_is_refused(folder: Path) -> None:
    with locked_home(folder / "prvr-runs", "other"):
        done = prvr("resume", "tiny", cwd=folder)
    assert done.code == 2
    assert "with sweep 'other') runs a sweep in" in done.err


def test_other_data_under_the_same_path_is_refused(folder: Path) -> None:
    stores = sorted((folder / "prvr-runs" / "stores").iterdir())
    other = ("data", "synth", "other.store", "--set", "train_videos=12", "--set", "val_videos=8")
    assert prvr(*other, cwd=folder).code == 0
    stores[0].rename(folder / "aside")
    (folder / "other.store").rename(stores[0])
    done = prvr("resume", "tiny", "--trials", "3", cwd=folder)
    stores[0].rename(folder / "other.store")
    (folder / "aside").rename(stores[0])
    assert done.code == 3
    assert "is not the data that the sweep was launched on" in done.err
    assert len(trials(folder)) == 2


@pytest.mark.soak
def test_an_extended_sweep_equals_one_that_was_launched_as_large(
    folder: Path, tmp_path: Path, new_home: Callable[[Path], Path]
) -> None:
    """Longer trials go on from their checkpoints: same weights, metrics and runs."""
    done = prvr("resume", "tiny", "--trials", "3", "--epochs", "4", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert "continues with 2 unfinished and 1 new trials of at most 4 epochs" in done.err
    new_home(tmp_path / "prvr-runs")
    (tmp_path / "tiny.yaml").write_text(_SPACE)
    options = ("--set", "search.trials=3", "--set", "early_stopping.max_epochs=4")
    assert launch(tmp_path, *options).code == 0
    extended, whole = (content(one / "prvr-runs", "tiny") for one in (folder, tmp_path))
    # MLflow keeps what a parameter was first, and that a trial ended twice; a best epoch of the
    # shorter trial says of which it is.
    told = (
        "/params/training.epochs",
        "/metrics/best_epoch",
        "/metrics/best_value",
        "/best.safetensors/header/settings/training/epochs",
    )
    compared = [
        path for path in whole if not path.startswith("/mlflow/sweep") and not path.endswith(told)
    ]
    assert sum("/metrics/" in path for path in compared) > 3 * 20
    differing = [one for one in compared if repr(whole[one]) != repr(extended.get(one))]
    assert differing == []
    changed = "/mlflow/0/tags/prvr.changed.training.epochs"
    assert (extended[changed], extended["/mlflow/2/params/training.epochs"]) == ("4", "4")


def test_a_lost_outbox_is_made_again_from_the_study(folder: Path) -> None:
    """The same runs, none twice, whatever the tracker had."""
    home = folder / "prvr-runs"
    before = content(home, "tiny")
    path = home / "outbox" / "tiny.jsonl"
    identity = Outbox(path).identity
    path.unlink()
    assert prvr("resume", "tiny", cwd=folder).code == 0
    assert Outbox(path).identity == identity
    after = content(home, "tiny")
    known, runs = (
        {path.split("/")[2] for path in found if path.startswith("/mlflow/")}
        for found in (before, after)
    )
    assert {"sweep", "0", "1"} <= runs == known
    rows = [one for one in before if "/metrics/" in one and one.startswith("/mlflow/0/metrics/val")]
    assert rows
    assert [before[one] for one in rows] == [after[one] for one in rows]


def test_passwords_are_not_kept_and_asked_for_again(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@host/mlflow"
    kept = SweepLocations(tmp_path, None, TrackingStore.of(uri, tmp_path)).remembered()
    assert "secret" not in json.dumps(kept)
    with pytest.raises(Exception, match="give it again"):
        SweepLocations.recalled(kept, tmp_path, None, None)
    assert SweepLocations.recalled(kept, tmp_path, None, uri).tracking.uri == uri

"""What `status` says of a sweep, from its study alone."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.commands.status_text import render_status
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.status import read_status, this_driver
from tests.orchestrator.helpers import new_searcher, new_study, small_spec


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of six with one trial complete, two failed alike, one running."""
    home, spec = tmp_path_factory.mktemp("home"), small_spec()
    study = new_study(home, spec)
    study.set_attribute("question", spec.question)
    study.set_attribute("metric", "val/SumR")
    study.set_attribute("state", "running")
    study.set_attribute("driver", this_driver())
    searcher = new_searcher(study, spec)
    for number in range(4):
        searcher.next()
        study.record_epoch(number, 1, 10.0 + number, 1, is_judged=True)
    study.tell_complete(0)
    for number in (1, 2):
        study.tell_failed(number, FailureCause("ValueError", "too large\nby far", "trace"))
    return home


def test_counts_best_and_failures_by_cause(home: Path) -> None:
    status = read_status(home, "small")
    assert status.state == "running"
    assert (status.counts[TrialState.FAILED], status.counts[TrialState.RUNNING]) == (2, 1)
    assert status.best is not None
    assert status.best.number == 0
    assert status.best_so_far is not None
    assert status.best_so_far.number == 3
    (failure,) = status.failures
    assert (failure.kind, failure.numbers) == ("ValueError", (1, 2))


def test_rendered_text_says_the_same(home: Path) -> None:
    text = render_status(read_status(home, "small"))
    assert "1 running, 1 complete, 2 failed, 2 to come" in text
    assert "best val/SumR: 10.0000 (trial 0, complete, epoch 1 of 1)" in text
    assert "2 failed: 1 cause\n  2 failed (1, 2): ValueError: too large\n" in text
    assert "    of trial 1:\n      trace" in text
    assert "losses.tau = " in text


def test_dictionary_is_json(home: Path) -> None:
    fields = json.loads(json.dumps(read_status(home, "small").to_dict()))
    assert fields["counts"] == {"running": 1, "complete": 1, "pruned": 0, "failed": 2}
    assert fields["failures"][0]["numbers"] == [1, 2]


def test_driver_that_is_gone_is_noticed(tmp_path: Path) -> None:
    study = new_study(tmp_path, small_spec())
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    study.set_attribute("driver", {**this_driver(), "pid": int(gone.stdout)})
    status = read_status(tmp_path, "small")
    assert status.state == "lost"
    assert "keep their last checkpoint" in render_status(status)
    assert f"continue: `prvr-sweep resume small --home {tmp_path}`" in render_status(status)


def test_a_driver_runs_on_when_the_clock_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_study(tmp_path, small_spec()).set_attribute("driver", this_driver())
    started_s, boot_s = psutil.Process().create_time(), psutil.boot_time()
    # The kernel tells both by the time of day.
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: started_s - 7200)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_s - 7200)
    assert read_status(tmp_path, "small").state == "running"


def test_a_driver_of_an_older_version_is_recognised(tmp_path: Path) -> None:
    driver = this_driver()
    del driver["since_boot_s"]
    new_study(tmp_path, small_spec()).set_attribute("driver", driver)
    assert read_status(tmp_path, "small").state == "running"


def test_interrupted_sweep_says_what_waits(home: Path, tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    new_searcher(study, spec).next()
    study.set_attribute("state", "interrupted")
    study.set_attribute("over_budget", "no hour is left")
    text = render_status(read_status(tmp_path, "small"))
    assert "keep their last checkpoint" in text
    assert f"continue: `prvr-sweep resume small --home {tmp_path}`" in text
    assert f"`prvr-sweep resume small --home {tmp_path} --budget KEY=VALUE`" in text


def test_the_default_home_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path("prvr-runs").resolve()
    home.mkdir()
    new_study(home, small_spec()).set_attribute("state", "interrupted")
    assert "continue: `prvr-sweep resume small`" in render_status(read_status(home, "small"))


def test_status_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, orchestrator.sweep.status, orchestrator.sweep.run;"
        "print([one for one in ('torch', 'ray', 'mlflow') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

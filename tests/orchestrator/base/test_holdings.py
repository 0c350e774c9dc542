"""Sweeps on one machine tell each other what they hold."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base import holdings
from orchestrator.base.holdings import Holding, held_by_others, holding
from orchestrator.base.machine import Gpu
from orchestrator.cluster import capacity
from orchestrator.cluster.capacity import Node, TrialNeeds, pack


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sweeps of this test tell what they hold."""
    monkeypatch.setenv("PRVR_HOLDINGS", str(tmp_path / "all"))
    return tmp_path / "all"


@pytest.fixture
def other() -> Iterator[int]:
    """A process that lives for as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def test_others_see_it_for_as_long_as_the_block_runs(folder: Path, other: int) -> None:
    held = Holding("cbva", other, cpus=2, memory_bytes=2**30, gpus=("0",))
    with holding(held):
        assert held_by_others() == (held,)
        assert str(held) == f"sweep 'cbva' (process {other}): 2 CPUs, 1 GPU"
    assert held_by_others() == ()
    assert list(folder.iterdir()) == []


def test_its_own_process_holds_nothing_from_itself(folder: Path) -> None:
    with holding(Holding("cbva", os.getpid())):
        assert held_by_others() == ()


def test_a_process_that_is_gone_holds_nothing(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    with holding(Holding("cbva", int(done.stdout))):
        assert held_by_others() == ()


def test_a_later_process_of_the_same_number_holds_nothing(folder: Path, other: int) -> None:
    with holding(Holding("cbva", other)):
        (file,) = folder.glob("*.json")
        os.utime(file, (1e9, 1e9))
        assert held_by_others() == ()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sweep": 1}', json.dumps({"pid": 1})])
def test_other_files_are_passed_over(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "x.json").write_text(text)
    assert held_by_others() == ()


def test_a_folder_that_cannot_be_made_is_no_error(folder: Path) -> None:
    folder.write_text("")
    with holding(Holding("cbva", 1)):
        pass


def node(monkeypatch: pytest.MonkeyPatch, *held: Holding) -> Node:
    """This machine, if it had four CPUs and two GPUs."""
    monkeypatch.setattr(capacity, "held_by_others", lambda: held)
    monkeypatch.setattr(capacity, "available_cpus", lambda: 4)
    monkeypatch.setattr(capacity, "visible_gpus", lambda: (Gpu("0", "A"), Gpu("1", "A")))
    return Node.here()


def test_what_others_hold_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = node(monkeypatch, Holding("cbva", 1, cpus=3, gpus=("1",)))
    assert (here.cpus, here.gpus) == (1, 1)
    packed = pack(TrialNeeds(), [here])
    assert packed is not None
    assert packed.trials == 1


def test_where_all_cpus_are_held_one_trial_shares_them(monkeypatch: pytest.MonkeyPatch) -> None:
    here = node(monkeypatch, Holding("a", 1, cpus=2), Holding("b", 2, cpus=2))
    packed = pack(TrialNeeds(cpus=2), [here])
    assert packed is not None
    assert packed.trials == 1
    assert pack(TrialNeeds(cpus=5), [here]) is None


def test_gpus_that_are_held_are_never_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    here = node(monkeypatch, Holding("a", 1, cpus=1, gpus=("0", "1")))
    assert pack(TrialNeeds(gpus=0.5), [here]) is None


def test_memory_that_is_promised_and_not_yet_taken_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = node(monkeypatch).memory_bytes
    left = node(monkeypatch, Holding("a", os.getpid(), memory_bytes=2**40)).memory_bytes
    assert free is not None
    assert left == 0
    assert holdings.Holding("a", 1, memory_bytes=5).unused_bytes <= 5

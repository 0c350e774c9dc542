"""Where trials run, on its way from their workers to the source; without Ray."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from orchestrator.cluster import machine_kinds
from orchestrator.executors import group_host
from orchestrator.executors.group_host import GroupTrial, _GroupRun
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.mailbox import Mailbox
from orchestrator.executors.retries import EvictedTrials, GroupSizes
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.tune_bridge import Bridge, TuneScheduler
from orchestrator.executors.wire import (
    PLACES,
    WorkerPlace,
    places_from_json,
    places_to_json,
    report_to_json,
)
from orchestrator.spec.prices import MachineKind
from orchestrator.study.work_record import TrialStart
from prvr_model.reporting import EpochReport
from tests.orchestrator.cluster.test_machine_kinds import CHEAP, FILE
from tests.orchestrator.executors.executor_contract import RecordingSource
from tests.orchestrator.executors.test_mailbox import soon

PLACES_OF_TWO = [
    WorkerPlace(2000, {"ray.io/node-group": "cheap"}),
    WorkerPlace(1000, {"ray.io/accelerator-type": "H100"}),
]
ROW = report_to_json(EpochReport(1, {"val/SumR": 1.0}, 3000))


def test_a_start_has_the_kind_of_every_workers_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.yaml").write_text(FILE)
    monkeypatch.setattr(machine_kinds, "BOOTSTRAP_FILE", tmp_path / "file.yaml")
    source = RecordingSource([0])
    limit = StartLimit(10, lambda: ({}, {}), source.on_wait)
    sizes = GroupSizes(2, 2, lambda: 0)
    bridge = Bridge(source, 1, Interruption(), EvictedTrials(), sizes, limit)
    scheduler, trial = TuneScheduler(bridge), SimpleNamespace(trial_id="a")
    bridge.suggest("a")

    def told(result: Mapping[str, str]) -> str:
        return scheduler.on_trial_result(None, trial, dict(result))  # type: ignore[arg-type]

    assert told({PLACES: places_to_json(PLACES_OF_TWO)}) == TrialScheduler.CONTINUE
    assert source.reports[0] == []
    assert source.starts[0] == [TrialStart(1000, (CHEAP, MachineKind("H100")))]
    # A row with other places: the workers were restarted.
    told({PLACES: places_to_json(PLACES_OF_TWO[:1]), "row": ROW})
    assert source.starts[0][1:] == [TrialStart(2000, (CHEAP,))]
    assert len(source.reports[0]) == 1


def test_places_are_complete_when_all_workers_have_said_theirs() -> None:
    async def run() -> None:
        box = Mailbox()
        asking = asyncio.create_task(box.places("a"))
        await box.begin("a", PLACES_OF_TWO[1], 1, 2)
        await asyncio.sleep(0)
        assert not asking.done()
        await box.begin("a", PLACES_OF_TWO[0], 0, 2)
        assert await soon(asking) == PLACES_OF_TWO
        # A restarted worker is elsewhere.
        await box.begin("a", PLACES_OF_TWO[0], 1, 2)
        assert await soon(box.places("a")) == [PLACES_OF_TWO[0]] * 2
        await box.close("never")
        assert await soon(box.places("never")) == []

    asyncio.run(run())


def test_a_group_says_where_it_is_first_and_again_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_host.ray, "get", lambda answer, timeout=None: answer)
    there = [PLACES_OF_TWO, PLACES_OF_TWO, PLACES_OF_TWO[:1], PLACES_OF_TWO[:1]]
    rows = iter([ROW, ROW, None])
    run = object.__new__(_GroupRun)
    run.places, run._had_slot, run._error = [], True, None
    run._job = SimpleNamespace(key="a")  # type: ignore[assignment]
    run._mailbox = SimpleNamespace(
        places=SimpleNamespace(remote=lambda key: there.pop(0)),
        next_row=SimpleNamespace(remote=lambda key: next(rows)),
    )
    trial = object.__new__(GroupTrial)
    trial._run = run
    assert places_from_json(trial.step()[PLACES]) == PLACES_OF_TWO
    assert trial.step() == {"row": ROW}
    assert trial.step() == {"row": ROW, PLACES: places_to_json(PLACES_OF_TWO[:1])}
    assert trial.step() == {"done": True}

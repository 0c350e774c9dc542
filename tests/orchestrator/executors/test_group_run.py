"""What a group asks for and what ended it, with a mailbox in this process and without Ray."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.train import ControllerError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from orchestrator.executors import group_host as ddp_host
from orchestrator.executors import group_trainer as ddp_group
from orchestrator.executors.group_trainer import GroupJob, GroupShape, GroupTrainer
from orchestrator.executors.mailbox import Mailbox
from orchestrator.executors.wire import TrialFailedError, WorkerPlace

PLACE = WorkerPlace(1, {})
SHAPE = GroupShape(2, {"CPU": 1}, start_limit_s=30)


class LocalMailbox:
    """Calls a mailbox at once; for calls that need not wait."""

    def __init__(self) -> None:
        self.box = Mailbox()

    def __getattr__(self, name: str) -> "RemoteMethod":
        return RemoteMethod(getattr(self.box, name))


class RemoteMethod:
    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def remote(self, *arguments: object) -> object:
        return asyncio.run(asyncio.wait_for(self._method(*arguments), 10))


def ended_run(patch: pytest.MonkeyPatch, begins: bool) -> ddp_host._GroupRun:
    """A run whose workers found no slot, at once or after they had begun."""

    class Trainer:
        def __init__(self, job: GroupJob) -> None:
            self._job = job

        def fit(self) -> None:
            if begins:
                self._job.mailbox.begin.remote(self._job.key, PLACE, 0, 2)
            raise ControllerError(WorkerGroupStartupTimeoutError(2))

    patch.setattr(ddp_host, "GroupTrainer", Trainer)
    patch.setattr(ddp_host.ray, "get", lambda answer, timeout=None: answer)
    job = GroupJob("key", "", "", SHAPE, Path("/scratch"), LocalMailbox())
    run = ddp_host._GroupRun(job)
    run._thread.join(10)
    return run


@pytest.mark.parametrize(("begins", "kind"), [(False, "NoSlotError"), (True, "SlotLostError")])
def test_who_had_begun_lost_its_place_and_others_never_had_one(
    begins: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended_run(monkeypatch, begins)
    with pytest.raises(TrialFailedError) as raised:
        run.next_row()
    assert raised.value.cause.kind == kind
    assert "2 workers with 1 CPU each found no slot within 30 s" in raised.value.cause.message


def test_workers_ask_for_memory_as_well(tmp_path: Path) -> None:
    shape = GroupShape(2, {"CPU": 3, "GPU": 1, "memory": 2**30}, 30)
    trainer = GroupTrainer(GroupJob("key", "", "", shape, tmp_path, None))
    assert trainer.scaling_config.resources_per_worker == shape.bundle
    assert trainer.scaling_config.use_gpu
    assert "with 3 CPUs, 1 GPU and 1.0 GiB of memory each" in str(shape.no_slot())


def test_nobody_trains_before_all_have_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker copies for as long as the other does not wait, or trains."""
    done: list[str] = []
    is_waiting, meeting = threading.Event(), threading.Barrier(2)

    def copied(request: str, sent: str) -> str:
        assert sent == "here" or is_waiting.wait(10)
        done.append("copied")
        return request

    def wait() -> None:
        is_waiting.set()
        meeting.wait(10)

    def trains(*_: object) -> None:
        is_waiting.set()
        done.append("trains")

    for name, fake in [("local_request", copied), ("barrier", wait), ("run_worker", trains)]:
        monkeypatch.setattr(ddp_group, name, fake)
    monkeypatch.setattr(ddp_group, "request_from_json", str)
    monkeypatch.setattr(ddp_group, "this_place", lambda: PLACE)
    monkeypatch.setattr(ddp_group, "_rank", lambda: (0, 2))
    monkeypatch.setattr(ddp_group.ray, "get", lambda answer: answer)
    shared = {"key": "a", "request": "", "function": "", "drains": False, "mailbox": LocalMailbox()}
    with ThreadPoolExecutor() as pool:
        list(pool.map(ddp_group._work, [{**shared, "sent": one} for one in ("here", "far away")]))
    assert done == ["copied", "copied", "trains", "trains"]

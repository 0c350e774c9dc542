"""A tracking server that takes for ever over a call: the driver does not wait, all arrives."""

import threading
from pathlib import Path

from orchestrator.study.trial import TrialState
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.run_change import RunChange, RunIdentity
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec
from tests.orchestrator.tracking.test_sender import Store, sender_of


class SlowStore(Store):
    """Each write takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.writing, self.go = threading.Event(), threading.Event()

    def write(self, changes: list[RunChange], parent: RunIdentity) -> None:
        self.writing.set()
        assert self.go.wait(120)
        super().write(changes, parent)


def test_a_sweep_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    outbox, slow = Outbox(tmp_path / "outbox" / "small.jsonl"), SlowStore()
    sender = sender_of(outbox, slow)
    sender.start()
    result = run_sweep(
        small_spec("search.trials=3"),
        Path("/store"),
        FINGERPRINT,
        tmp_path,
        sink=outbox,
        executor="inline",
        function="tests.orchestrator.executors.fake_trials:rising",
    )
    # It is over while the first call has not come back.
    assert slow.writing.wait(30)
    assert result.counts[TrialState.COMPLETE] == 3
    assert slow.content == Store().content
    assert not sender.flush(0.1)
    slow.go.set()
    assert sender.flush(60)
    sender.stop()
    assert slow.status == {number: "FINISHED" for number in (None, 0, 1, 2)}
    assert all({row.step for row in slow.rows[number]} == {1, 2, 3} for number in range(3))
    outbox.close()

"""A trial of two workers goes on with one where the other's node is gone for good."""

import json
import os
import signal
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from orchestrator.cluster.capacity import RunningCluster
from orchestrator.cluster.client import attached_cluster
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor
from orchestrator.study.trial import TrialRequest
from prvr_model.store.synthetic import write_synthetic
from tests.node_deaths import folder_of
from tests.orchestrator.cluster_process import small_cluster
from tests.orchestrator.executors.executor_contract import RecordingSource
from tests.orchestrator.node_death_trials import HERE, HIT_NUMBER
from tests.prvr_model.tiny import TINY_DATA, tiny_settings

_HEAD = '{"num_cpus": 0, "resources": {"train_driver": 1}}'
_WORKER = '{"num_cpus": 1}'
# Short, since the place never comes; a start of processes must fit in.
_START_LIMIT_S = 40.0
_HIT_LIMIT_S = 240.0
WHOLE = HIT_NUMBER + 1


class _Source(RecordingSource):
    """An undisturbed trial and then one that is hit, both without dropout, which differs."""

    def __init__(self, root: Path) -> None:
        super().__init__([WHOLE, HIT_NUMBER])
        self._root = root

    def next_trial(self) -> TrialRequest | None:
        found = super().next_trial()
        return found and replace(
            found,
            settings=tiny_settings(model__dropout=0.0, model__input_dropout=0.0),
            store=str(self._root / "tiny.store"),
            folder=str(folder_of(self._root, found.number)),
        )


def _kill_node_when_there(here: Path, done: threading.Event) -> None:
    for _ in range(round(_HIT_LIMIT_S / 0.1)):
        if here.exists():
            os.kill(json.loads(here.read_text())["raylet"], signal.SIGKILL)
            done.set()
            return
        done.wait(0.1)


@pytest.mark.soak
def test_trial_goes_on_with_fewer_workers_where_a_node_never_comes_back() -> None:
    with tempfile.TemporaryDirectory() as name, small_cluster(_HEAD, _WORKER, _WORKER) as cluster:
        root = Path(name)
        write_synthetic(root / "tiny.store", TINY_DATA)
        source, killed = _Source(root), threading.Event()
        here = folder_of(root, HIT_NUMBER) / HERE
        killer = threading.Thread(target=_kill_node_when_there, args=(here, killed), daemon=True)
        with mock.patch.dict(os.environ, cluster.environment):
            with attached_cluster(cluster.address) as there:
                running = RunningCluster(cluster.address, there.nodes)
            killer.start()
            TuneExecutor(
                TrialSlot(workers=2, min_workers=1),
                "tests.orchestrator.node_death_trials:hit_once",
                running,
                start_limit_s=_START_LIMIT_S,
            ).run(source, 1, Interruption())
    assert killed.is_set()
    assert source.causes == {}
    assert source.calls[HIT_NUMBER][-1] == "end"
    whole, hit = (
        {row.epoch: row.metrics for row in source.reports[number]} for number in (WHOLE, HIT_NUMBER)
    )
    assert [hit[epoch]["workers"] for epoch in sorted(hit)] == [2, 1, 1, 1]
    names = [one for one in hit[4] if one.startswith(("train/", "val/")) and "mb_per" not in one]
    for epoch, wanted in whole.items():
        found = {candidate: hit[epoch][candidate] for candidate in names}
        # Sums of one worker and of two differ by rounding, which grows with every step.
        assert found == pytest.approx(
            {candidate: wanted[candidate] for candidate in names}, rel=2e-3
        )

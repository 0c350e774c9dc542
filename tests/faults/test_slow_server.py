"""A real MLflow server that takes five seconds a call: trials do not wait, and all arrives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.mlflow_tracker import mlflow_sender
from orchestrator.outbox import Outbox
from orchestrator.spec_loading import read_spec
from orchestrator.sweep import run_sweep
from orchestrator.tracking_store import TrackingStore
from orchestrator.trial import TrialState
from prvr_model.synthetic import write_synthetic
from tests.cli.commands import TINY_SPACE
from tests.faults.slow_proxy import slow_proxy
from tests.model.tiny import TINY_DATA
from tests.sweep.helpers import FINGERPRINT
from tests.tracking.conftest import Server
from tests.tracking.reading import DATA_SET, content_of, send

pytestmark = [pytest.mark.integration, pytest.mark.soak]
_CALL_S = 5.0
# Some dozens of calls.
_FLUSH_S = 600.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_real_trials_end_before_the_first_call_and_all_arrives(
    server: Server, tmp_path: Path
) -> None:
    spec = read_spec(TINY_SPACE, (), "tiny.yaml", tmp_path)
    write_synthetic(tmp_path / "store", TINY_DATA)
    outbox = Outbox(tmp_path / "outbox" / "tiny.jsonl")
    with slow_proxy(server.port, _CALL_S) as proxy:
        sender = mlflow_sender(outbox, TrackingStore(proxy.uri, None), DATA_SET)
        sender.start()
        result = run_sweep(
            spec,
            tmp_path / "store",
            FINGERPRINT,
            tmp_path,
            sink=outbox,
            executor="inline",
        )
        # All trials are over, and not one call has been answered yet.
        assert result.counts[TrialState.COMPLETE] == 2
        assert proxy.asked.wait(60)
        assert not sender.is_done
        proxy.go.set()
        assert sender.flush(_FLUSH_S), sender.problem
        sender.stop()
    beside = TrackingStore.of_home(tmp_path)
    send(outbox, beside)
    assert content_of(server.store, outbox) == content_of(beside, outbox)
    outbox.close()

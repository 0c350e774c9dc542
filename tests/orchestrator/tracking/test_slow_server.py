"""A real MLflow server that takes a second a call: trials do not wait, and all arrives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.spec.loading import read_spec
from orchestrator.study.trial import TrialState
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from prvr_model.store.synthetic import write_synthetic
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.conftest import Server
from tests.orchestrator.helpers import FINGERPRINT, run_sweep
from tests.orchestrator.tracking.reading import DATA_SET, content_of, send
from tests.orchestrator.tracking.slow_proxy import slow_proxy
from tests.prvr_model.tiny import TINY_DATA

pytestmark = [pytest.mark.integration, pytest.mark.soak]
_CALL_S = 1.0
# Some dozens of calls.
_FLUSH_S = 300.0


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

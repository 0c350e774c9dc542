"""A disk that fills during a checkpoint: the trial fails with its name, the old one is intact."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prvr_model.files.folder import Folder, StorageError
from prvr_model.reporting import Decision, EpochReport
from prvr_model.store.reader import FeatureStore
from prvr_model.training.train_loop import train
from tests.prvr_model.tiny import tiny_settings


@contextmanager
def files_end_at(limit_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.soak
def test_the_checkpoint_before_is_intact_and_training_goes_on_from_it(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    undisturbed: list[EpochReport] = []
    settings = tiny_settings(training__epochs=3)

    def keep(rows: list[EpochReport], row: EpochReport) -> Decision:
        rows.append(row)
        return Decision.CONTINUE

    train(settings, tiny_store, Folder.open(tmp_path / "a"), lambda row: keep(undisturbed, row))

    folder = Folder.open(tmp_path / "b")
    first = tiny_settings(training__epochs=1)
    train(first, tiny_store, folder, lambda _: Decision.CONTINUE)
    before = {name: folder.read_bytes(name) for name in folder.names()}
    with files_end_at(4096), pytest.raises(StorageError, match=r"cannot be written.*too large"):
        train(settings, tiny_store, folder, lambda _: Decision.CONTINUE)
    assert {name: folder.read_bytes(name) for name in folder.names()} == before

    rows: list[EpochReport] = []
    train(settings, tiny_store, folder, lambda row: keep(rows, row))
    assert [(row.epoch, row.metrics["val/SumR"]) for row in rows] == [
        (row.epoch, row.metrics["val/SumR"]) for row in undisturbed
    ]

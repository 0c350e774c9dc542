"""Fixtures of the model's tests: one thread, fixed seeds, a tiny store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from tests.prvr_model.tiny import TINY_DATA


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic store of 12 training and 8 validation videos, read-only by convention."""
    path = tmp_path_factory.mktemp("stores") / "tiny.store"
    write_synthetic(path, TINY_DATA)
    return path


@pytest.fixture
def tiny_store(tiny_store_path: Path) -> FeatureStore:
    return FeatureStore.open(tiny_store_path)

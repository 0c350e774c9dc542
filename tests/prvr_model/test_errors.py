"""Errors cross processes unchanged: a trial's error is raised in a worker and read elsewhere."""

import pickle

import pytest

from prvr_model.errors import (
    CheckpointError,
    CorpusError,
    NonFiniteError,
    PrvrError,
    SettingsError,
    StoreError,
)

ERRORS = [
    PrvrError("broken"),
    StoreError("no store"),
    CheckpointError("no checkpoint"),
    CorpusError("2 problems", ["one", "two"]),
    SettingsError([("losses.tau", "too large"), ("model.depth", "unknown")]),
    NonFiniteError("train/cbva", 3, 7),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: PrvrError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_non_finite_number_is_named_with_its_place() -> None:
    error = NonFiniteError("train/cbva", 3, 7)
    assert (error.term, error.epoch, error.step) == ("train/cbva", 3, 7)
    assert "train/cbva is not finite in epoch 3, step 7" in str(error)

"""A model that cannot be registered costs no result."""

import errno
from typing import Any

import pytest

from orchestrator.sweep import registration
from orchestrator.sweep.registration import register_best


def test_an_export_that_fails_is_a_problem_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(registration, "_candidate", fail)
    monkeypatch.setattr(registration, "why_unscored", lambda *_: "no test split")
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    unused: Any = None
    context: Any = type("Context", (), {"spec": None})
    found = register_best(context, unused, [unused], {})
    assert found.versions == ()
    assert found.problem == (
        "the best model was not registered: OSError: [Errno 28] No space left on device (of the "
        "home, or of temporary files in /tmp)"
    )

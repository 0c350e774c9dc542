"""A probe on this machine, in a process of its own."""

from pathlib import Path

import pytest

from orchestrator.base.errors import ProbeError
from orchestrator.preflight import probing
from orchestrator.preflight.probing import last_line, probe_here, probe_request
from orchestrator.spec.data import DataSize
from prvr_model.settings import SpeedSettings
from prvr_model.training.probe_messages import ProbeRequest
from tests.prvr_model.tiny import tiny_settings

SIZE = DataSize(12, 8, 12, 10, 3.5, 8.0)


def request(**changes: object) -> ProbeRequest:
    found = probe_request([tiny_settings()], SIZE, SpeedSettings(), 1)
    return found.model_copy(update=changes)


@pytest.mark.soak
def test_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Modules of the working directory do not stand in for ours.
    (tmp_path / "prvr_model.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    result = probe_here(request())
    assert result.stages[-1].videos == 5
    assert result.memory_bytes > 100 * 2**20


def test_an_error_is_said_with_its_class() -> None:
    speed = SpeedSettings(device="cuda:99")
    with pytest.raises(ProbeError, match=r"^\w+Error: .*CUDA"):
        probe_here(request(speed=speed))


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_START_LIMIT_S", -29.9)
    with pytest.raises(ProbeError, match="no answer within 0 s"):
        probe_here(request(limit_s=15.0))


def test_the_last_line_says_what_happened() -> None:
    assert last_line("Traceback\n  File x\nValueError: no\n\n") == "ValueError: no"
    assert last_line("\n") == ""

"""Command lines that are run in the test's own process."""

from pathlib import Path

import pytest

from orchestrator import cli
from tests.orchestrator.command_line import Run


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """In the folder of the test's module."""
    monkeypatch.chdir(folder)

    def running(line: str, code: int = 0) -> tuple[str, str]:
        found = cli.run(line.split())
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.out, printed.err

    return running

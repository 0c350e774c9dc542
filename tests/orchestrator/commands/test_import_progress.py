"""How far an import is, on a terminal and in a log."""

import io
import sys
from collections.abc import Iterator

import pytest

from orchestrator.commands.import_progress import import_progress, reading_text
from prvr_model.store.importers.corpus import Reading

MIB = 2**20


@pytest.mark.parametrize(
    ("reading", "seconds", "text"),
    [
        (Reading(3, 9, 0, 100), 0.5, "read 3 of 9 videos and captions"),
        (
            Reading(3, 9, 60 * MIB, 960 * MIB),
            6.0,
            "read 3 of 9 videos and captions, 10.0 MiB/s, 1 min 30 s left",
        ),
        (Reading(9, 9, 9 * MIB, 9 * MIB), 3.0, "read 9 of 9 videos and captions, 3.0 MiB/s"),
    ],
)
def test_rate_and_time_left_are_those_of_bytes(reading: Reading, seconds: float, text: str) -> None:
    assert reading_text(reading, seconds) == text


def times(*seconds: float) -> Iterator[float]:
    yield from seconds


def test_a_log_has_a_line_each_five_seconds_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = times(0, 1, 6, 7, 8)
    with import_progress(lambda: next(clock)) as progress:
        for items in range(1, 5):
            progress(Reading(items, 4, items * MIB, 4 * MIB))
    assert capsys.readouterr().err.splitlines() == [
        "read 2 of 4 videos and captions, 0.3 MiB/s, 6 s left",
        "read 4 of 4 videos and captions, 0.5 MiB/s",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    clock = times(0, 2)
    with import_progress(lambda: next(clock)) as progress:
        progress(Reading(1, 4, MIB, 4 * MIB))
    assert "read 1 of 4 videos and captions, 0.5 MiB/s, 6 s left" in terminal.getvalue()
    assert capsys.readouterr().out == ""

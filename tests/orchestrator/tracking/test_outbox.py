"""An outbox keeps every event that was appended, whatever a crash left behind."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.tracking.outbox import Outbox, OutboxReader


def events_of(path: Path) -> list[dict[str, Any]]:
    outbox = Outbox(path)
    reader = OutboxReader(outbox, path.with_suffix(".other"))
    return list(reader.read(10_000).events)


def test_reader_gets_what_was_appended_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "s.jsonl")
    events = [{"kind": "epoch", "text": "zwölf\nlines", "number": n} for n in range(5)]
    for event in events:
        outbox.append(event)
    assert events_of(outbox.path) == events


def test_position_outlives_the_reader(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})
    outbox.append({"kind": "b"})
    reader = OutboxReader(outbox, tmp_path / "s.position")
    reader.commit(reader.read(2).end)  # the header and "a"
    again = OutboxReader(Outbox(outbox.path), tmp_path / "s.position")
    assert [event["kind"] for event in again.read(10).events] == ["b"]
    assert [event["kind"] for batch in again.before(1) for event in batch.events] == ["a"]
    assert not again.is_done


def test_what_was_not_committed_is_read_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})
    reader = OutboxReader(outbox, tmp_path / "s.position")
    assert reader.read(10) == reader.read(10)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"outbox": 1}', '{"outbox": "x", "position": 9}']
)
def test_unusable_position_starts_from_the_beginning(tmp_path: Path, content: str) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})
    (tmp_path / "s.position").write_text(content)
    assert OutboxReader(outbox, tmp_path / "s.position").position == 0


def test_position_of_another_outbox_of_the_same_name_is_not_used(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "old"})
    reader = OutboxReader(outbox, tmp_path / "s.position")
    reader.commit(reader.read(10).end)
    outbox.path.unlink()
    new = Outbox(outbox.path)
    new.append({"kind": "new"})
    assert new.identity != outbox.identity
    assert OutboxReader(new, tmp_path / "s.position").position == 0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_torn_at_any_byte_keeps_all_whole_lines_and_takes_new_ones(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "s.jsonl"
    path.unlink(missing_ok=True)
    outbox = Outbox(path)
    events = [{"kind": "epoch", "number": n, "text": "ä" * n} for n in range(4)]
    for event in events:
        outbox.append(event)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="bytes that reached the disk")
    path.write_bytes(content[:cut])
    whole = max(0, content[:cut].count(b"\n") - 1)

    Outbox(path).append({"kind": "after"})

    assert events_of(path) == [*events[:whole], {"kind": "after"}]


def test_damaged_line_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})
    with outbox.path.open("ab") as file:
        file.write(b"\0\0\0\n[1]\n")
    outbox = Outbox(outbox.path)
    outbox.append({"kind": "b"})
    assert [event["kind"] for event in events_of(outbox.path)] == ["a", "b"]


def test_full_disk_keeps_events_in_memory_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})

    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("orchestrator.tracking.outbox._SYNC_EVERY_S", 0)
        full.setattr(os, "fsync", no_room)
        outbox.append({"kind": "b"})
        assert "No space left" in str(outbox.problem)
        assert [event["kind"] for event in events_of_plain(outbox)] == ["a"]
    outbox.append({"kind": "c"})
    assert outbox.problem is None
    assert [event["kind"] for event in events_of(outbox.path)] == ["a", "b", "c"]


class _FailingDisk(io.FileIO):
    """A file on a disk that takes half of what it is given and no truncation, while it fails."""

    fails = True

    def write(self, data: memoryview) -> int:
        if self.fails and len(data) < 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data[: len(data) // 2] if self.fails else data)

    def truncate(self, size: int | None = None) -> int:
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        return super().truncate(size)


def test_half_a_line_that_could_not_be_cut_off_is_cut_before_the_next(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    outbox.append({"kind": "a"})
    outbox._file = disk = _FailingDisk(outbox.path, "a+b")
    outbox.append({"kind": "b"})
    assert "Input/output error" in str(outbox.problem)
    disk.fails = False
    outbox.append({"kind": "c"})
    assert outbox.problem is None
    assert [event["kind"] for event in events_of(outbox.path)] == ["a", "b", "c"]


def events_of_plain(outbox: Outbox) -> list[dict[str, Any]]:
    return list(OutboxReader(outbox, outbox.path.with_suffix(".x")).read(100).events)


def test_settle_writes_what_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", broken)
        outbox.append({"kind": "a"})
        assert not outbox.settle()
    assert outbox.settle()
    assert [event["kind"] for event in events_of(outbox.path)] == ["a"]


def test_a_file_that_is_no_outbox_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"kind": "epoch"}\n')
    with pytest.raises(OSError, match="is not an outbox"):
        Outbox(path)
    assert path.read_text() == '{"kind": "epoch"}\n'

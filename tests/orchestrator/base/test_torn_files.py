"""Any beginning of any of our small files is repaired, or refused by name."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import HomeLockedError
from orchestrator.base.home import locked_home
from orchestrator.tracking.outbox import Outbox, OutboxReader
from prvr_model.errors import StoreError
from prvr_model.store.format import MANIFEST_NAME, read_manifest
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic

torn = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    write_synthetic(path, SyntheticSettings(train_videos=2, val_videos=2, test_videos=2))
    return path


@torn
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_manifest_is_refused_by_name(store: Path, share: float) -> None:
    file = store / MANIFEST_NAME
    whole = file.read_bytes()
    # Without its last line break it says the same.
    cut = whole[: int(len(whole.rstrip()) * share)]
    try:
        file.write_bytes(cut)
        with pytest.raises(StoreError, match=str(store)):
            read_manifest(store)
    finally:
        file.write_bytes(whole)
    assert read_manifest(store).splits.keys() == {"train", "val", "test"}


@torn
@given(share=st.floats(0, 1))
def test_a_position_is_read_or_starts_anew(tmp_path: Path, share: float) -> None:
    position, file = tmp_path / "position", tmp_path / "events.jsonl"
    file.unlink(missing_ok=True)
    outbox = Outbox(file)
    outbox.append({"kind": "epoch"})
    OutboxReader(outbox, position).commit(outbox.size_bytes)
    whole = position.read_bytes()
    position.write_bytes(whole[: int(len(whole) * share)])
    found = OutboxReader(outbox, position).position
    outbox.close()
    assert found == (outbox.size_bytes if share == 1 else 0)


@torn
@given(size=st.integers(0, 200))
def test_an_outbox_that_was_torn_in_its_first_line_starts_anew(tmp_path: Path, size: int) -> None:
    file = tmp_path / "events.jsonl"
    file.unlink(missing_ok=True)
    Outbox(file).close()
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    again = Outbox(file)
    again.append({"kind": "epoch"})
    again.close()
    lines = file.read_bytes().splitlines()
    assert len(lines) == 2
    assert (lines[0] == whole.strip()) == (size >= len(whole))


@pytest.mark.parametrize("content", [b"", b"12", b"x", b"\0\0", b"99999999"])
def test_a_lock_file_says_who_but_only_the_system_says_whether(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "lock").write_bytes(content)
    with locked_home(tmp_path):
        assert json.loads((tmp_path / "lock").read_bytes())["pid"] == os.getpid()
        with pytest.raises(HomeLockedError, match=str(os.getpid())), locked_home(tmp_path):
            pass

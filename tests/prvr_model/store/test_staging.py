"""A store is copied to a machine once, whatever interrupts it, and what is given out is whole."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prvr_model.errors import DataError, StoreError
from prvr_model.files.folder import Folder
from prvr_model.settings import SpeedSettings
from prvr_model.store import staging
from prvr_model.store.format import MANIFEST_NAME
from prvr_model.store.reader import FeatureStore
from prvr_model.store.sources import FolderFiles, manifest_at
from prvr_model.store.staging import CACHE_VARIABLE, cache_folder, room_problem, staged_store
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.train_loop import train
from tests.prvr_model.tiny import TINY_DATA, tiny_settings
from tests.prvr_model.training.test_train_loop import go_on, rows

VIDEOS = "train.videos.arrow"


@dataclass
class CountedFiles:
    """A store's files, with a note of what was read."""

    files: FolderFiles
    read: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        return self.files.place

    def manifest_bytes(self) -> bytes:
        return self.files.manifest_bytes()

    def pieces(self, name: str) -> Iterator[bytes]:
        self.read.append(name)
        return self.files.pieces(name)


@pytest.fixture
def source(tmp_path: Path) -> FeatureStore:
    path = tmp_path / "far" / "tiny.store"
    path.parent.mkdir()
    write_synthetic(path, TINY_DATA, name="tiny")
    return FeatureStore.open(path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces far below the size of a file, so that its copy can be interrupted in its middle."""
    monkeypatch.setattr("prvr_model.store.sources.PIECE_BYTES", 256)


def files_of(store: FeatureStore) -> CountedFiles:
    return CountedFiles(FolderFiles.open(f"file://{store.path}"))


def staged(store: FeatureStore, cache: Path, files: CountedFiles | None = None) -> Path:
    return staged_store(files or files_of(store), store.manifest.fingerprint, cache)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_whole_and_made_once(source: FeatureStore, cache: Path) -> None:
    said: list[str] = []
    files = files_of(source)
    path = staged_store(files, source.manifest.fingerprint, cache, said.append)
    assert path == cache / source.manifest.fingerprint
    assert names(cache) == [source.manifest.fingerprint]
    assert names(path) == names(source.path)
    assert all(
        (path / name).read_bytes() == (source.path / name).read_bytes() for name in names(path)
    )
    size_mib = sum((path / name).stat().st_size for name in names(path)) / 2**20
    assert said == [f"copying file://{source.path} ({size_mib:.1f} MiB) to {path}"]
    count = len(files.read)
    shutil.rmtree(source.path)
    assert staged(source, cache, files) == path
    assert len(files.read) == count


@pytest.mark.soak
def test_a_trial_trains_on_a_copy_as_on_the_store(
    source: FeatureStore, cache: Path, tmp_path: Path
) -> None:
    there = train(tiny_settings(), source, Folder.open(tmp_path / "a"), go_on, SpeedSettings())
    copy = FeatureStore.open(staged(source, cache))
    here = train(tiny_settings(), copy, Folder.open(tmp_path / "b"), go_on, SpeedSettings())
    assert rows(here) == rows(there)
    assert (copy.path / "prepared").is_dir()


_COPIES_SLOWLY = """
import sys
from pathlib import Path
from prvr_model.store import sources as store_files
from prvr_model.store.staging import staged_store
store_files.PIECE_BYTES = 256
class Slow(store_files.FolderFiles):
    def pieces(self, name):
        for number, piece in enumerate(super().pieces(name)):
            if name == "train.captions.arrow" and number == 5:
                print("in the middle", flush=True)
                sys.stdin.readline()
            yield piece
uri, fingerprint, cache = sys.argv[1:]
print(staged_store(Slow.open(uri), fingerprint, Path(cache)), flush=True)
"""


def slow_copier(store: FeatureStore, cache: Path) -> "subprocess.Popen[str]":
    arguments = [f"file://{store.path}", store.manifest.fingerprint, str(cache)]
    process = subprocess.Popen(
        [sys.executable, "-c", _COPIES_SLOWLY, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    return process


def test_another_process_waits_says_so_and_copies_nothing(
    source: FeatureStore, cache: Path
) -> None:
    files, said, found = files_of(source), list[str](), list[Path]()
    is_waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        is_waiting.set()

    def wait() -> None:
        found.append(staged_store(files, source.manifest.fingerprint, cache, say))

    with slow_copier(source, cache) as process:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert is_waiting.wait(timeout=60)
        assert not (cache / source.manifest.fingerprint).exists()
        out, _ = process.communicate("go on\n")
        waiting.join(timeout=60)
    assert said == [f"another process copies file://{source.path}; waiting for it"]
    assert [str(path) for path in found] == out.split()
    assert files.read == []


def test_after_a_kill_the_copy_begins_anew(source: FeatureStore, cache: Path) -> None:
    with slow_copier(source, cache) as process:
        process.send_signal(signal.SIGKILL)
    assert names(cache / f"{source.manifest.fingerprint}.partial")
    assert not (cache / source.manifest.fingerprint).exists()
    files = files_of(source)
    FeatureStore.open(staged(source, cache, files)).verify()
    assert sorted(files.read) == sorted(source.manifest.files)
    assert names(cache) == [source.manifest.fingerprint]


class EndedError(Exception):
    """Stands for any error that ends a copy."""


@pytest.mark.usefixtures("small_pieces")
def test_a_copy_that_is_interrupted_at_any_piece_leaves_nothing(
    source: FeatureStore, cache: Path
) -> None:
    """Each try gets one piece further, so every instant is one at which a copy ends."""
    tries = 0
    while True:
        try:
            path = staged(source, cache, BrokenOff(FolderFiles.open(str(source.path)), num=tries))
        except EndedError:
            tries += 1
            assert names(cache) == []
        else:
            break
    FeatureStore.open(path).verify()
    assert tries > len(source.manifest.files)


@dataclass
class BrokenOff(CountedFiles):
    """Ends with an error after `num` pieces."""

    num: int = 0

    def pieces(self, name: str) -> Iterator[bytes]:
        for piece in super().pieces(name):
            if not self.num:
                raise EndedError
            self.num -= 1
            yield piece


def test_a_changed_source_names_both_fingerprints(source: FeatureStore, cache: Path) -> None:
    before = source.manifest.fingerprint
    write_synthetic(source.path, TINY_DATA.model_copy(update={"seed": 2}), overwrite=True)
    after = manifest_at(str(source.path)).fingerprint
    with pytest.raises(DataError, match=f"fingerprint {after}, .* planned on {before}: .*changed"):
        staged_store(files_of(source), before, cache)
    assert names(cache) == []


def test_what_a_killed_copy_left_is_never_read(source: FeatureStore, cache: Path) -> None:
    partial = cache / f"{source.manifest.fingerprint}.partial"
    shutil.copytree(source.path, partial)
    (partial / "other.arrow").touch()
    damage(partial / VIDEOS, feature_offset(source))
    files = files_of(source)
    path = staged(source, cache, files)
    FeatureStore.open(path).verify()
    assert sorted(files.read) == sorted(source.manifest.files)
    assert names(path) == names(source.path)


def damage(path: Path, at: int) -> None:
    """Change a byte of a file; its size stays."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def feature_offset(store: FeatureStore) -> int:
    """Where the features of the first video begin in their file."""
    row = store.split("train").frames(0)[0].tobytes()
    return (store.path / VIDEOS).read_bytes().index(row)


def test_a_damaged_source_is_never_given_out(source: FeatureStore, cache: Path) -> None:
    damage(source.path / VIDEOS, feature_offset(source))
    with pytest.raises(StoreError, match=f"is damaged: the content of {VIDEOS} is not what"):
        staged(source, cache)
    assert names(cache) == []


def test_damaged_texts_are_never_given_out(source: FeatureStore, cache: Path) -> None:
    captions = "train.captions.arrow"
    text = source.split("train").caption_texts[0].encode()
    content = (source.path / captions).read_bytes()
    (source.path / captions).write_bytes(content.replace(text, b"\xff" * len(text), 1))
    with pytest.raises(StoreError, match=rf"is damaged: the content of .*{captions}"):
        staged(source, cache)
    assert names(cache) == []


def test_a_manifest_that_lies_about_its_fingerprint(source: FeatureStore, cache: Path) -> None:
    path = source.path / MANIFEST_NAME
    path.write_text(path.read_text().replace(source.manifest.fingerprint, "a" * 64))
    with pytest.raises(StoreError, match=r"says fingerprint a{64}, what it lists has"):
        staged_store(files_of(source), "a" * 64, cache)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size(source: FeatureStore, cache: Path, change: int) -> None:
    path = source.path / VIDEOS
    content = path.read_bytes()
    path.write_bytes(content[:-1] if change < 0 else content + b"x")
    with pytest.raises(StoreError, match=rf"{VIDEOS} of .* has .* bytes instead of {len(content)}"):
        staged(source, cache)


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/outside.arrow", "sub/x.arrow", ".."])
def test_names_cannot_leave_the_folder(source: FeatureStore, cache: Path, name: str) -> None:
    path = source.path / MANIFEST_NAME
    path.write_text(path.read_text().replace(f'"{VIDEOS}"', f'"{name}"'))
    with pytest.raises(StoreError, match=r"is damaged \(at files: "):
        staged(source, cache)
    assert names(cache) == []


@pytest.mark.parametrize("fingerprint", ["../../x", "", "A" * 64])
def test_a_fingerprint_cannot_leave_the_cache(
    source: FeatureStore, cache: Path, fingerprint: str
) -> None:
    with pytest.raises(StoreError, match="is not a fingerprint"):
        staged_store(files_of(source), fingerprint, cache)
    assert not cache.exists()


def test_without_room_nothing_is_copied(
    source: FeatureStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(record.size_bytes for record in source.manifest.files.values())
    usage = shutil.disk_usage(source.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=total - 1))
    files = files_of(source)
    with pytest.raises(
        StoreError, match=f"no room for .*: {cache} has room for .* {CACHE_VARIABLE}"
    ):
        staged(source, cache, files)
    assert files.read == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=total))
    assert room_problem(source.manifest, cache) is None
    staged(source, cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert room_problem(source.manifest, cache) is None


def test_a_disk_that_fills_up_leaves_no_store(
    source: FeatureStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left.*what was copied is removed"):
            staged(source, cache)
    assert names(cache) == []
    FeatureStore.open(staged(source, cache)).verify()


def test_a_copy_that_lost_a_file_is_made_again(source: FeatureStore, cache: Path) -> None:
    path = staged(source, cache)
    (path / VIDEOS).unlink()
    files, said = files_of(source), list[str]()
    assert staged_store(files, source.manifest.fingerprint, cache, said.append) == path
    assert sorted(files.read) == sorted(source.manifest.files)
    assert said[0] == f"{path} is damaged; it is copied again"
    FeatureStore.open(path).verify()


def test_a_damaged_copy_stays_while_its_source_is_away(source: FeatureStore, cache: Path) -> None:
    path = staged(source, cache)
    (path / VIDEOS).unlink()
    files, fingerprint = files_of(source), source.manifest.fingerprint
    shutil.rmtree(source.path)
    with pytest.raises(StoreError, match="there is no feature store to be read"):
        staged_store(files, fingerprint, cache)
    assert (path / MANIFEST_NAME).exists()


def test_an_unfinished_copy_gives_its_room_to_the_next(
    source: FeatureStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(source.path, cache / f"{source.manifest.fingerprint}.partial")
    usage = shutil.disk_usage(source.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert room_problem(source.manifest, cache) is None


def test_copies_of_other_data_stay(source: FeatureStore, cache: Path) -> None:
    first = staged(source, cache)
    write_synthetic(source.path, TINY_DATA.model_copy(update={"seed": 2}), overwrite=True)
    second = staged(FeatureStore.open(source.path), cache)
    assert names(cache) == sorted([first.name, second.name])


def test_a_cache_that_cannot_be_made(source: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"cannot make .*; set {CACHE_VARIABLE}"):
        staged(source, tmp_path / "file" / "cache")


def test_a_cache_without_locks(
    source: FeatureStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match="cannot be locked"):
        staged(source, cache)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_folder().name == f"prvr-stores-{os.getuid()}"
    assert cache_folder("/the/driver's") == Path("/the/driver's")
    monkeypatch.setenv(CACHE_VARIABLE, "/mine")
    assert cache_folder("/the/driver's") == Path("/mine")
    monkeypatch.setenv(CACHE_VARIABLE, "mine")
    with pytest.raises(StoreError, match="allowed: an absolute path"):
        cache_folder()


def test_another_users_folder_among_temporary_files(
    source: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    cache = cache_folder()
    cache.mkdir()
    monkeypatch.setattr(staging, "_own_temporary", lambda: cache)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StoreError, match="belongs to another user"):
        staged(source, cache)

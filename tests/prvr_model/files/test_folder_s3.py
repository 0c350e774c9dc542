"""A trial's folder on an S3 server, which here listens on 127.0.0.1."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import pytest
from pyarrow import NativeFile, fs

from orchestrator.base.addresses import user_location
from prvr_model.errors import StoreError
from prvr_model.extraction.decoding import Sampling
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.extraction.extract import (
    ExtractionRequest,
    extract_parts,
    join_parts,
    plan_extraction,
)
from prvr_model.extraction.parts import Parts, shared_parts
from prvr_model.files.checkpoint_header import LAST
from prvr_model.files.folder import Folder, StorageError
from prvr_model.network.model_file import export_model, load_best, load_exported
from prvr_model.retrieval.evaluation import evaluate_saved
from prvr_model.settings import SpeedSettings
from prvr_model.store.format import MANIFEST_NAME
from prvr_model.store.reader import FeatureStore
from prvr_model.store.sources import FolderFiles, manifest_at
from prvr_model.store.staging import staged_store
from prvr_model.training.checkpoint import BEST
from prvr_model.training.train_loop import train
from tests.prvr_model.tiny import tiny_settings
from tests.prvr_model.training.test_train_loop import go_on, rows, stop_after
from tests.small_videos import write_video
from tests.tiny_encoder import write_tiny_clip

Hook: TypeAlias = Callable[[], None]

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nothing of the user's own, and no look at the network for a machine's role.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Larger than a part of an upload, which pyarrow sends in pieces of 10 MB.
_LARGE = b"new" * 4_000_000
# Pieces of a file until its server is gone.
_CUT_AFTER = 5
# It takes a second or two, on a busy machine longer.
_START_TIMEOUT_S = 60.0


def s3_uri(path: str, port: int) -> str:
    return f"s3://{path}?scheme=http&endpoint_override=127.0.0.1%3A{port}"


class Server:
    """An S3 server on 127.0.0.1 with one bucket.

    A process of its own: pyarrow closes a dropped stream while it holds the interpreter, and a
    server in a thread could not answer.

    Args:
        log: File that a line for each request goes to; None: nowhere.
    """

    def __init__(self, log: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        with (log or Path(os.devnull)).open("ab") as requests:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=subprocess.DEVNULL,
                stderr=requests,
            )
        try:
            self._make_bucket()
        except BaseException:
            self.stop()
            raise

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, path: str) -> str:
        return s3_uri(path, self.port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _make_bucket(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        bucket = urllib.request.Request(f"{self.endpoint}/bucket", method="PUT")
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(bucket, timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(f"no S3 server on port {self.port}")


@pytest.fixture(scope="module", autouse=True)
def _settled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def server(_settled: None) -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def folder(server: Server) -> Folder:
    return Folder.open(server.uri(f"bucket/{uuid.uuid4().hex}"))


def test_bytes_come_back(folder: Folder) -> None:
    trial = folder.child("trials").child("00001")
    assert trial.names() == []
    assert not trial.exists("a")
    trial.write_bytes("a", b"one")
    trial.write_bytes("a", _LARGE)
    trial.write_bytes("b", b"")
    assert trial.read_bytes("a") == _LARGE
    assert trial.names() == ["a", "b"]
    assert (trial.exists("a"), folder.exists("trials")) == (True, False)
    assert (folder.child("trials").names(), folder.names()) == ([], [])


@pytest.mark.parametrize("name", ["00001", "with space", "größe", "a?b#c%20d&e=f"])
def test_the_uri_of_a_folder_opens_it_again(folder: Folder, name: str) -> None:
    folder.child(name).write_bytes("a", b"x")
    again = Folder.open(folder.child(name).uri)
    assert again.read_bytes("a") == b"x"
    assert again.path == folder.child(name).path


def test_a_uri_as_a_user_writes_it(server: Server) -> None:
    place, mark, options = server.uri("bucket/mine").partition("?")
    given = f"{place}/run #3 größe/100%25/{mark}{options}"
    folder = Folder.open(user_location(given))
    folder.child("tiny").write_bytes("a", b"x")
    assert folder.path == "bucket/mine/run #3 größe/100%"
    assert Folder.open(server.uri("bucket/mine/run%20%233%20gr%C3%B6%C3%9Fe")).names() == []
    key = "bucket/mine/run #3 größe/100%/tiny/a"
    assert folder.filesystem.get_file_info(key).type == fs.FileType.File


def test_the_server_may_be_named_by_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    folder = Folder.open("s3://bucket/named")
    folder.write_bytes("a", b"x")
    assert folder.child("sub").uri == "s3://bucket/named/sub"
    assert Folder.open(server.uri("bucket/named")).read_bytes("a") == b"x"


@pytest.mark.soak
def test_a_trial_trains_resumes_and_is_exported(
    tiny_store: FeatureStore, folder: Folder, tmp_path: Path
) -> None:
    whole = train(tiny_settings(), tiny_store, Folder.open(tmp_path / "local"), go_on)
    cut = train(tiny_settings(), tiny_store, folder, stop_after(2))
    assert len(cut.reports) == 2
    result = train(tiny_settings(), tiny_store, Folder.open(folder.uri), go_on)
    assert rows(result) == rows(whole)
    assert folder.names() == sorted([BEST, LAST])
    assert len(folder.child("ranks").names()) == len(result.reports)
    export_model(folder, tmp_path / "export")
    there, here = load_best(folder), load_exported(tmp_path / "export")
    assert there.epoch == here.epoch == result.best_epoch
    assert all((here.weights[name] == value).all() for name, value in there.weights.items())
    found = evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings()).metrics
    best = result.reports[result.best_epoch - 1].metrics
    assert found == {name: best[f"val/{name}"] for name in found}


def test_videos_that_nodes_extracted_are_joined_from_there(folder: Folder, tmp_path: Path) -> None:
    clip = FeatureEncoder.load(str(write_tiny_clip(tmp_path / "tiny")))
    rate = Sampling(4.0)
    (tmp_path / "videos").mkdir()
    for name in "ab":
        write_video(tmp_path / f"videos/{name}.mp4", [0.0, 0.3, 0.6])
    (tmp_path / "c.csv").write_text("video,caption,split\na,x,train\nb,y,val\n")
    request = ExtractionRequest(tmp_path / "videos", tmp_path / "c.csv", tmp_path / "s", rate)
    plan = plan_extraction(request)
    uri = shared_parts(folder.uri, request.target, clip.recipe(4.0), rate, clip.precision)
    assert uri.endswith(folder.uri.partition("?")[2])
    for job in plan.jobs:  # each on a node of its own
        node = Parts(Folder.open(uri))
        node.begin(clip.recipe(4.0), rate, clip.precision)
        assert extract_parts(clip, [job], rate, node, 1, lambda _: None) == []
    parts = Parts(Folder.open(uri))
    assert all(map(parts.has, plan.jobs))
    far = join_parts(plan, clip, parts, [], lambda _: None)
    parts.remove()
    assert Folder.open(uri).names() == []
    local = Parts(Folder.open(tmp_path / "parts"))
    extract_parts(clip, plan.jobs, rate, local, 1, lambda _: None)
    here = join_parts(
        replace(plan, request=replace(request, overwrite=True)), clip, local, [], lambda _: None
    )
    assert far.manifest == here.manifest


class Hooked:
    """A file system that calls a hook while an object is being written."""

    def __init__(self, filesystem: fs.FileSystem, opened: Hook, written: Hook) -> None:
        self._filesystem = filesystem
        self._opened, self._written = opened, written

    def open_output_stream(self, path: str) -> "HookedStream":
        stream = self._filesystem.open_output_stream(path)
        self._opened()
        return HookedStream(stream, self._written)


class HookedStream:
    """A stream that calls a hook between its last byte and its end."""

    def __init__(self, stream: NativeFile, written: Hook) -> None:
        self._stream, self._written = stream, written

    def __enter__(self) -> "HookedStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, content: bytes) -> None:
        self._stream.write(content)
        self._written()


def nothing() -> None:
    """A hook that does nothing."""


def test_a_reader_finds_the_old_object_until_the_new_one_is_whole(folder: Folder) -> None:
    folder.write_bytes("a", b"old")
    seen: list[bytes] = []

    def look() -> None:
        seen.append(folder.read_bytes("a"))

    hooked = replace(folder, filesystem=Hooked(folder.filesystem, look, look))
    hooked.write_bytes("a", _LARGE)
    assert seen == [b"old", b"old"]
    assert folder.read_bytes("a") == _LARGE


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("hooks", [(interrupt, nothing), (nothing, interrupt)])
def test_an_interrupt_while_writing_leaves_a_whole_object(
    folder: Folder, hooks: tuple[Hook, Hook]
) -> None:
    folder.write_bytes("a", b"old")
    with pytest.raises(KeyboardInterrupt):
        replace(folder, filesystem=Hooked(folder.filesystem, *hooks)).write_bytes("a", _LARGE)
    assert folder.read_bytes("a") == _LARGE


def test_a_store_is_copied_to_this_machine_and_again_after_a_cut(
    tiny_store: FeatureStore, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [MANIFEST_NAME, *tiny_store.manifest.files]:
        folder.write_bytes(name, (tiny_store.path / name).read_bytes())
    assert manifest_at(folder.uri) == tiny_store.manifest
    monkeypatch.setattr("prvr_model.store.sources.PIECE_BYTES", 256)
    files, fingerprint = FolderFiles.open(folder.uri), tiny_store.manifest.fingerprint
    cut = CutFiles(files.folder)
    with pytest.raises(StoreError, match="cut off"):
        staged_store(cut, fingerprint, tmp_path)
    assert [path for path in tmp_path.iterdir() if fingerprint in path.name] == []
    copy = FeatureStore.open(staged_store(files, fingerprint, tmp_path))
    copy.verify()
    assert copy.manifest == tiny_store.manifest


@dataclass(frozen=True)
class CutFiles(FolderFiles):
    """A store whose server is gone in the middle of a file."""

    def pieces(self, name: str) -> Iterator[bytes]:
        for number, piece in enumerate(super().pieces(name)):
            if number == _CUT_AFTER:
                raise StoreError("cut off")
            yield piece


def test_a_bucket_without_a_store(folder: Folder) -> None:
    with pytest.raises(StoreError, match=r"^there is no feature store to be read at s3://"):
        manifest_at(folder.uri)
    folder.write_bytes(MANIFEST_NAME, b'{"format": "other"}')
    with pytest.raises(StoreError, match=r"^s3://.* is not a feature store"):
        manifest_at(folder.uri)


def test_a_bucket_that_is_not_there(server: Server, tiny_store: FeatureStore) -> None:
    folder = Folder.open(server.uri("nobody/runs"))
    with pytest.raises(StorageError, match=r"^s3://nobody/runs/a\?.*: cannot be written: .*bucket"):
        folder.write_bytes("a", b"x")
    with pytest.raises(StorageError, match=r"^s3://nobody/runs/a\?.*: cannot be read: "):
        folder.read_bytes("a")
    with pytest.raises(StorageError, match=r"^s3://nobody/runs/best\.safetensors\?"):
        train(tiny_settings(), tiny_store, folder, go_on)


def test_a_server_that_is_away_is_one_clear_error(tiny_store: FeatureStore) -> None:
    with socket.socket() as nobody:
        # Taken, so that no other program listens there meanwhile, but nobody answers.
        nobody.bind(("127.0.0.1", 0))
        uri = s3_uri("bucket/away", nobody.getsockname()[1])
        check_away(Folder.open(uri), tiny_store)


def check_away(folder: Folder, store: FeatureStore) -> None:
    calls: dict[str, Callable[[], object]] = {
        r"/a\?.*: cannot be looked up": lambda: folder.exists("a"),
        r"\?.*: cannot be listed": folder.names,
        r"/a\?.*: cannot be read": lambda: folder.read_bytes("a"),
        r"/a\?.*: cannot be written": lambda: folder.write_bytes("a", b"x"),
        rf"/{LAST}\?.*: cannot be looked up": lambda: train(tiny_settings(), store, folder, go_on),
    }

    def check(message: str, call: Callable[[], object]) -> None:
        with pytest.raises(StorageError, match=rf"^s3://bucket/away{message}: .*connect to server"):
            call()

    # pyarrow tries for 6 s: all at once.
    with ThreadPoolExecutor(len(calls)) as threads:
        list(threads.map(check, *zip(*calls.items(), strict=True)))

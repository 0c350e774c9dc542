"""Files that are not what they should be: each fault has its own sentence and remedy."""

import fcntl
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from prvr_model.store.importers import hdf5_features
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.corpora import TEXT_DIM, VIDEO_DIM, import_msc, tiny_corpus
from tests.prvr_model.store.importers.test_msc import refused_root

VIDEOS, TEXTS = "FeatureData/tiny_clip_L14.h5", "TextData/tiny_clip_L14.h5"
BLOSC, ZSTANDARD, UNKNOWN = 32001, 32015, 33333


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_corpus().write(tmp_path / "root")


def put(file: Path, key: str, value: object) -> None:
    with h5py.File(file, "a") as opened:
        del opened[key]
        opened[key] = value


@pytest.mark.parametrize(("file", "key"), [(VIDEOS, "b"), (TEXTS, "b#enc#0")])
def test_a_null_dataspace_is_one_problem(root: Path, tmp_path: Path, file: str, key: str) -> None:
    put(root / "tiny" / file, key, h5py.Empty("f4"))
    assert refused_root(root, "tiny", tmp_path) == (
        f"empty dataset: {file}: {key!r} holds no data (a null dataspace), expected (L, D)",
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "wrong type: {file}: 'b' holds text or lists of any length, expected floating"),
        (np.zeros(3, "f4,i4"), "wrong type: {file}: 'b' holds records, expected floating"),
        (np.dtype("f4"), "no dataset: {file}: 'b' is a type, expected a dataset (L, D)"),
        (h5py.SoftLink("/nowhere"), "unreadable features: {file}: 'b' cannot be read ("),
        (
            np.ones((VIDEO_DIM, 3), "f4"),
            "wrong dimensions: {file}: 'b' has dimension 3, most have 6; transposed?",
        ),
    ],
)
def test_an_item_that_is_no_matrix_of_numbers(
    root: Path, tmp_path: Path, value: object, problem: str
) -> None:
    put(root / "tiny" / VIDEOS, "b", value)
    (found,) = refused_root(root, "tiny", tmp_path)
    assert found.startswith(problem.format(file=VIDEOS))


def test_a_type_that_numpy_lacks(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        del file["b"]
        space = h5py.h5s.create_simple((3, VIDEO_DIM))
        h5py.h5d.create(file.id, b"b", h5py.h5t.UNIX_D32LE, space)
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert problem.startswith(f"unreadable features: {VIDEOS}: 'b' cannot be read (No NumPy")


def test_a_shape_beyond_memory(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        del file["b"]
        file.create_dataset("b", (10**13, VIDEO_DIM), "f4", chunks=(1000, VIDEO_DIM))
    put(root / "tiny" / VIDEOS, "c", np.ones((0, VIDEO_DIM)))
    problems = refused_root(root, "tiny", tmp_path)
    assert any("'b' cannot be read (Unable to allocate" in problem for problem in problems)


def test_an_array_alone_in_a_group_of_its_name(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        rows = file["b"][()]
        file.move("b", "parked")
        file.move("parked", "b/c3d")
    store = FeatureStore.open(import_msc(root, "tiny", tmp_path / "store").store)
    np.testing.assert_array_equal(store.split("train").frames(1), rows)


def test_several_arrays_in_a_group(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        file.move("b", "parked")
        file.move("parked", "b/c3d")
        file["b/i3d"] = file["b/c3d"][()]
    assert refused_root(root, "tiny", tmp_path) == (
        f"no dataset: {VIDEOS}: 'b' is a group of 2 ('c3d', 'i3d'), expected a dataset (L, D)",
    )


def test_keys_with_slashes(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["day/a", "day/b"], "val": ["c/c/c"], "test": ["d"]})
    report = import_msc(corpus.write(tmp_path / "root"), "tiny", tmp_path / "store")
    split = FeatureStore.open(report.store).split("train")
    assert list(split.video_ids) == ["day/a", "day/b"]
    np.testing.assert_array_equal(split.frames(1), corpus.frames["day/b"])
    assert report.notes == ()


def test_keys_that_are_not_utf_8(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        file.move("b", "Müll/x".encode("latin-1"))
    problems = refused_root(root, "tiny", tmp_path)
    assert problems[0] == (
        f"hint: {VIDEOS}: nothing there has a name like 'b'; 'M\\udcfcll' is a group of 1 ('x')"
    )
    assert problems[2].startswith(f"video without caption: 'M\\udcfcll' of {VIDEOS} is in no")


def test_all_arrays_in_one_group(root: Path, tmp_path: Path) -> None:
    plain = import_msc(root, "tiny", tmp_path / "plain").manifest.fingerprint
    for path in (VIDEOS, TEXTS):
        with h5py.File(root / "tiny" / path, "a") as file:
            for key in list(file):
                file.move(key, f"features/{key}")
    report = import_msc(root, "tiny", tmp_path / "store")
    assert (report.manifest.fingerprint, report.notes) == (plain, ())


def test_two_groups_of_arrays(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        for key in list(file):
            file.move(key, f"features/{key}")
        file["more/x"] = [[1.0]]
    assert refused_root(root, "tiny", tmp_path)[0] == (
        f"hint: {VIDEOS}: nothing there has a name like 'a'; 'features' is a group of 4 "
        "('a', 'b', 'c', ...)"
    )


def test_a_file_that_another_program_locks(root: Path, tmp_path: Path) -> None:
    """Locks are not asked for, unless the environment does; then the message says so."""
    path = root / "tiny" / VIDEOS
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from prvr_model.store.importers.hdf5_features import open_hdf5\n"
        "from prvr_model.store.importers.problems import Problems\n"
        "with open_hdf5(Path(sys.argv[1]), problems := Problems()):\n"
        "    print(*problems.lines())"
    )
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        shown = [
            subprocess.run(
                [sys.executable, "-c", code, str(path)],
                env={**os.environ, "HDF5_USE_FILE_LOCKING": locks},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for locks in ("BEST_EFFORT", "FALSE")
        ]
    assert shown == [
        f"locked file: {path} cannot be locked, which the environment asks for, e.g. on NFS: set "
        "HDF5_USE_FILE_LOCKING=FALSE\n",
        "\n",
    ]


def test_all_arrays_transposed(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.frames = {
        key: np.ones((VIDEO_DIM, 10 + number), "f4") for number, key in enumerate(corpus.frames)
    }
    problems = refused_root(corpus.write(tmp_path / "root"), "tiny", tmp_path)
    assert problems[0] == (
        f"hint: {VIDEOS}: all arrays have 6 rows and between 10 and 13 columns: they lie "
        "transposed, (D, L); store array.T"
    )


def test_one_odd_dimension_among_videos_of_one_length_is_not_transposed(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    rows = np.random.default_rng(0).random((9, VIDEO_DIM + 1), np.float32)
    corpus.frames = {key: rows[:, 1:] for key in corpus.frames}
    corpus.frames["b"] = rows
    (problem,) = refused_root(corpus.write(tmp_path / "root"), "tiny", tmp_path)
    assert problem.endswith("'b' has dimension 7, most have 6")


def compress(file: Path, code: int, keys: list[str] | None = None) -> None:
    """Make arrays look compressed by a filter that is not there."""
    with h5py.File(file, "a") as opened:
        for key in keys or list(opened):
            shape = opened[key].shape
            del opened[key]
            made = opened.create_dataset(
                key, shape, "f4", chunks=shape, compression=code, allow_unknown_filter=True
            )
            made.id.write_direct_chunk((0, 0), b"compressed", 0)


def test_a_missing_filter_is_named_once_for_each_file(root: Path, tmp_path: Path) -> None:
    videos, texts = root / "tiny" / VIDEOS, root / "tiny" / TEXTS
    compress(videos, BLOSC)
    compress(texts, ZSTANDARD, ["c#enc#0"])
    assert refused_root(root, "tiny", tmp_path) == (
        f"missing compression filter: {VIDEOS} is compressed with Blosc (HDF5 filter 32001), which "
        "is not installed here (first 'a'): pip install hdf5plugin, or rewrite the file where the "
        f"filter is: h5repack -f NONE {videos} {videos}.new (4 items)",
        f"missing compression filter: {TEXTS} is compressed with Zstandard (HDF5 filter 32015), "
        "which is not installed here (first 'c#enc#0'): pip install hdf5plugin, or rewrite the "
        f"file where the filter is: h5repack -f NONE {texts} {texts}.new",
    )


def test_a_filter_that_no_package_has(root: Path, tmp_path: Path) -> None:
    compress(root / "tiny" / VIDEOS, UNKNOWN)
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert "is compressed with HDF5 filter 33333, which is not installed here" in problem
    assert "hdf5plugin" not in problem


def test_filters_of_an_installed_package_are_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if `import hdf5plugin` made a filter known: the item is read again."""
    compress(root / "tiny" / VIDEOS, BLOSC, ["b"])
    imported: list[str] = []
    available = h5py.h5z.filter_avail
    monkeypatch.setattr(hdf5_features, "import_module", imported.append)
    monkeypatch.setattr(
        h5py.h5z, "filter_avail", lambda code: available(code) or imported == ["hdf5plugin"]
    )
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert imported == ["hdf5plugin"]
    assert problem.startswith(f"unreadable features: {VIDEOS}: 'b' cannot be read (")


def test_arrays_that_a_filter_left_as_they_are_need_it_not(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "tiny" / VIDEOS, "a") as file:
        rows = file["b"][()]
        del file["b"]
        file.create_dataset("b", data=rows, compression=BLOSC, allow_unknown_filter=True)
    store = FeatureStore.open(import_msc(root, "tiny", tmp_path / "store").store)
    np.testing.assert_array_equal(store.split("train").frames(1), rows)


def test_a_writer_that_was_killed(root: Path, tmp_path: Path) -> None:
    path = (root / "tiny" / VIDEOS).with_name("tiny odd.h5")
    (root / "tiny" / VIDEOS).unlink()
    code = (
        "import h5py, os, sys\n"
        "file = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "file['a'] = [[1.0]]\n"
        "file.flush()\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert problem == (
        f"unfinished file: {path} was not closed by the program that writes it; if it still runs, "
        f"wait for it, if it was killed: h5clear -s '{path}' (one of HDF5's tools)"
    )


def test_a_truncated_file(root: Path, tmp_path: Path) -> None:
    path = root / "tiny" / VIDEOS
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert refused_root(root, "tiny", tmp_path) == (
        f"truncated file: {path} ends too early (it has {len(whole) - 200} of {len(whole)} "
        "bytes): copy or download it again",
    )


def npy(_: bytes) -> bytes:
    return b"\x93NUMPY\1\0"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda _: b"", "it is empty: copy or download it again"),
        (lambda _: b"<!DOCTYPE html><html>Sign in</html>", "it is a web page (HTML), e.g. of a"),
        (lambda _: b"\n<HTML>\n", "it is a web page (HTML), e.g. of a log-in"),
        (
            lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n",
            "it is a pointer of git-lfs, not the file itself: git -C {folder} lfs pull",
        ),
        (gzip.compress, "it is packed with gzip: gunzip < "),
        (npy, "it is a NumPy array (.npy)"),
        (lambda _: b"PK\3\4", "it is a zip archive, as .npz files and torch's are"),
    ],
)
@pytest.mark.parametrize(
    ("file", "kind"),
    [(VIDEOS, "not an HDF5 file"), ("TextData/tinyval.caption.txt", "not a caption file")],
)
def test_a_file_of_another_kind(
    root: Path, tmp_path: Path, file: str, kind: str, change: Callable[[bytes], bytes], found: str
) -> None:
    path = root / "tiny" / file
    path.write_bytes(change(path.read_bytes()))
    (problem,) = refused_root(root, "tiny", tmp_path)
    if path.stat().st_size or file == VIDEOS:
        assert problem.startswith(f"{kind}: {path}: {found.format(folder=path.parent)}")
    else:
        assert problem == f"caption file without captions: {path}"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (VIDEOS, gzip.compress),
        ("TextData/tinyval.caption.txt", gzip.compress),
        (
            "TextData/tinyval.caption.txt",
            lambda content: content.replace(b"Caption", "Café".encode("latin-1")),
        ),
        ("TextData/tinyval.caption.txt", lambda content: content.decode().encode("utf-16")),
    ],
)
def test_commands_that_rewrite_a_file_work_as_they_are_printed(
    tmp_path: Path, file: str, change: Callable[[bytes], bytes]
) -> None:
    root = tiny_corpus().write(tmp_path / "root")
    path = root / "tiny" / file
    path.write_bytes(change(path.read_bytes()))
    first = refused_root(root, "tiny", tmp_path)[0]
    command = re.search(r"(gunzip|iconv) .*", first)
    assert command is not None
    subprocess.run(["sh", "-c", command[0]], cwd="/", check=True)
    manifest = import_msc(root, "tiny", tmp_path / "store").manifest
    assert manifest.splits["val"].captions == 2


def test_bytes_that_are_no_text(root: Path, tmp_path: Path) -> None:
    path = root / "tiny" / "TextData" / "tinyval.caption.txt"
    path.write_bytes(b"c#enc#0 caption\0\1")
    assert refused_root(root, "tiny", tmp_path) == (f"not a caption file: {path}: it is not text",)


def test_a_zero_byte_in_an_id(root: Path, tmp_path: Path) -> None:
    path = root / "tiny" / "TextData" / "tinyval.caption.txt"
    path.write_bytes(path.read_bytes() + b"\n" * 512 + b"c\0#enc#9 caption\n")
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert problem.startswith("malformed caption line: tinyval.caption.txt:515 starts with 'c\\x00")


@pytest.mark.parametrize("file", [VIDEOS, "TextData/tinyval.caption.txt"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(root: Path, tmp_path: Path, file: str) -> None:
    (root / "tiny" / file).chmod(0)
    problems = refused_root(root, "tiny", tmp_path)
    assert f"unreadable file: {root}/tiny/{file}: Permission denied" in problems


def test_a_folder_that_may_not_be_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir = Path.is_dir

    def refuse(self: Path) -> bool:
        if self.name != "FeatureData":
            return is_dir(self)
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert refused_root(root, "tiny", tmp_path) == (
        f"cannot look at {root}/tiny/FeatureData: Permission denied",
    )


def test_an_array_of_one_row_more_dimension_than_wanted(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.tokens["c#enc#0"] = np.ones((5, 1, TEXT_DIM), "f4")
    (problem,) = refused_root(corpus.write(tmp_path / "root"), "tiny", tmp_path)
    assert problem == f"wrong dimensions: {TEXTS}: 'c#enc#0' has shape (5, 1, 4), expected (L, D)"

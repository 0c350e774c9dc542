"""`prvr-sweep data`: results on stdout, the rest on stderr, errors with their exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from orchestrator import cli
from orchestrator.commands.data import data
from prvr_model.errors import PrvrError, SettingsError
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, command, environment
from tests.prvr_model.store.corpora import tiny_corpus

SMALL = ["--set", "train_videos=3", "--set", "val_videos=2", "--set", "test_videos=2"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(data, [str(one) for one in arguments])


def error_of(*arguments: str | Path) -> PrvrError:
    result = run(*arguments)
    assert isinstance(result.exception, PrvrError), result.output
    return result.exception


def import_arguments(root: Path, store: Path) -> list[str | Path]:
    return ["import", "--layout", "msc", "--root", root, "--collection", "tiny", store]


def test_import_tells_counts_on_stdout_and_notes_on_stderr(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.captions["test"]
    result = run(*import_arguments(corpus.write(tmp_path / "root"), tmp_path / "store"))
    assert result.exit_code == 0
    fingerprint = FeatureStore.open(tmp_path / "store").manifest.fingerprint
    assert result.stdout.splitlines()[:4] == [
        f"{tmp_path / 'store'}: tiny, fingerprint {fingerprint}",
        "train: 2 videos, 4 captions",
        "val: 1 videos, 2 captions",
        "verdict:",
    ]
    assert "note: there is no test split" in result.stderr
    assert "read 9 of 9 videos and captions" in result.stderr


def test_import_finds_layout_and_collection_and_lists_what_cannot_be_meant(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    arguments = ["import", "--root", corpus.write(tmp_path / "root"), tmp_path / "store"]
    result = run(*arguments)
    assert result.exit_code == 0
    folder = tmp_path / "root" / "tiny" / "FeatureData"
    assert result.stderr.splitlines()[-2:] == [
        f"note: layout msc: {folder}/tiny_clip_L14.h5 is there",
        "note: collection tiny is taken: it is the only one there",
    ]
    corpus.frames["b"][:] = 0
    corpus.write(tmp_path / "root")
    error = error_of(*arguments, "--overwrite")
    assert error.exit_code == 3
    assert str(error).endswith("; --allow zero-features if it is meant")
    assert error_of(*arguments, "--layout", "mcs").exit_code == 2


def test_import_carves_validation_videos(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["a", "b", "c", "d"]})
    arguments = import_arguments(corpus.write(tmp_path / "root"), tmp_path / "store")
    assert run(*arguments, "--val-from-train", "0.25").exit_code == 0
    assert FeatureStore.open(tmp_path / "store").manifest.splits["val"].videos == 1
    assert run(*arguments, "--val-from-train", "1.5", "--overwrite").exit_code == 2


def test_import_takes_the_feature_files_that_it_is_told(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.video_file, corpus.text_file = "a.h5", "a.h5"
    arguments = import_arguments(corpus.write(tmp_path / "root"), tmp_path / "store")
    for path in (corpus.video_path(tmp_path / "root"), corpus.text_path(tmp_path / "root")):
        (path.parent / "b.h5").write_bytes(b"")
    problems = str(error_of(*arguments))
    assert "but a.h5, b.h5; name one with --video-features NAME" in problems
    assert "but a.h5, b.h5; name one with --text-features NAME" in problems
    chosen = ("--video-features", "a.h5", "--text-features", "a.h5")
    assert run(*arguments, *chosen).exit_code == 0


def test_rows_of_zeros_are_warned_of_by_import_inspect_and_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tiny_corpus()
    corpus.frames["a"][:] = 0
    corpus.tokens = {key: np.vstack([rows, 0 * rows]) for key, rows in corpus.tokens.items()}
    arguments = import_arguments(corpus.write(tmp_path / "root"), tmp_path / "store")
    assert error_of(*arguments).exit_code == 3
    result = run(*arguments, "--allow", "zero-features", "--allow", "zero-sentence")
    warnings = [
        "zeros in every row of 1 of 4 videos ('a'): make their features again and import again",
        "rows of zeros at the end of 8 of 8 captions ('a#enc#0', 'a#enc#1', 'b#enc#0', ...), so "
        "the sentence vector, which is the last row, is zero: cut the padding off and import again",
    ]
    assert result.exit_code == 0
    assert [f"warning: {text}" for text in warnings] == result.stderr.splitlines()[-2:]
    assert set(warnings) < set(
        json.loads(run("inspect", "--json", tmp_path / "store").stdout)["warnings"]
    )
    (tmp_path / "space.yaml").write_text(TINY_SPACE)
    assert cli.run(["plan", f"{tmp_path}/space.yaml", "--set", f"data={tmp_path}/store"]) == 0
    assert f"\nwarning: data: {'; '.join(warnings)}\n" in capsys.readouterr().out


def test_import_problems_have_exit_code_3_and_leave_no_store(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.frames["a"]
    error = error_of(*import_arguments(corpus.write(tmp_path / "root"), tmp_path / "store"))
    assert error.exit_code == 3
    assert str(error).startswith("cannot import tiny: 1 problem, no store written\n  - caption")
    assert not (tmp_path / "store").exists()


def test_synth_takes_sizes_and_a_seed(tmp_path: Path) -> None:
    assert run("synth", *SMALL, "--seed", "5", tmp_path / "a").exit_code == 0
    assert run("synth", *SMALL, "--set", "seed=5", tmp_path / "b").exit_code == 0
    assert run("synth", *SMALL, "--seed", "6", tmp_path / "c").exit_code == 0
    a, b, c = (FeatureStore.open(tmp_path / name).manifest for name in "abc")
    assert a.splits["train"].videos == 3
    assert a.fingerprint == b.fingerprint != c.fingerprint


def test_synth_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    wrong = ("train_vids=3", "gap=wide", "test_videos=0")
    error = error_of("synth", *(part for one in wrong for part in ("--set", one)), tmp_path / "a")
    assert isinstance(error, SettingsError)
    assert error.exit_code == 2
    text = str(error)
    assert "train_vids: unknown key 'train_vids'; allowed: seed, train_videos" in text
    assert "did you mean train_videos?" in text
    assert "gap: found 'wide'; allowed: a number >= 0" in text
    assert "test_videos: found 0; allowed: a whole number >= 1" in text
    ranges = error_of("synth", "--set", "min_frames=200", tmp_path / "a")
    assert str(ranges) == "min_frames 200 exceeds max_frames 120"
    assert run("synth", "--set", "gap", tmp_path / "a").exit_code == 2
    assert not list(tmp_path.iterdir())


def test_an_existing_store_needs_overwrite(tmp_path: Path) -> None:
    assert run("synth", *SMALL, tmp_path / "a").exit_code == 0
    assert error_of("synth", *SMALL, tmp_path / "a").exit_code == 3
    assert run("synth", *SMALL, "--overwrite", tmp_path / "a").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    sizes = ("--set", "train_videos=1000000")
    process = subprocess.Popen(
        command("data", "synth", *sizes, "a.store"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        # A shell lets what runs in its background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not any(tmp_path.rglob("*.arrow")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, shown = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, shown.split()) == (130, [b"interrupted"])
    assert list(tmp_path.iterdir()) == []


def test_inspect_is_one_line_of_json(tmp_path: Path) -> None:
    run("synth", *SMALL, tmp_path / "a")
    result = run("inspect", "--json", tmp_path / "a")
    assert result.stdout.count("\n") == 1
    summary = json.loads(result.stdout)
    assert summary["splits"]["train"]["videos"] == 3
    assert summary["fingerprint"] == FeatureStore.open(tmp_path / "a").manifest.fingerprint
    assert summary["video"] == {"dim": 64, "dtype": "float16"}


def test_inspect_for_people_says_the_same(tmp_path: Path) -> None:
    run("synth", *SMALL, tmp_path / "a")
    lines = run("inspect", tmp_path / "a").stdout.splitlines()
    assert any(line.startswith("train: 3 videos, ") for line in lines)
    assert any(line.startswith("  frames a video: min ") for line in lines)


def test_inspect_finds_changed_content(tmp_path: Path) -> None:
    run("synth", *SMALL, tmp_path / "a")
    file = tmp_path / "a" / "train.videos.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    error = error_of("inspect", tmp_path / "a")
    assert error.exit_code == 3
    assert "train.videos.arrow is not what was written" in str(error)


def test_inspect_without_a_store(tmp_path: Path) -> None:
    assert "there is no feature store" in str(error_of("inspect", tmp_path / "none"))


def test_summary_figures_and_warnings(tmp_path: Path) -> None:
    frames = np.array([[3, 4, 0], [0, 0, 0]], np.float32)
    with StoreWriter(tmp_path / "s", name="t", video_dim=3, text_dim=2) as writer:
        for name in ("a", "b"):
            writer.add_video("train", name, frames)
            writer.add_caption("train", f"{name}#0", name, "Same text.", np.eye(2))
        writer.add_caption("train", "b#1", "b", "", np.ones((1, 2)) / np.sqrt(2))
        writer.add_video("val", "a", frames[:1])
        writer.add_caption("val", "a#0", "a", "Other text.", np.eye(2))
    summary = json.loads(run("inspect", "--json", tmp_path / "s").stdout)
    train = summary["splits"]["train"]
    assert train["frame_norm"] == {"min": 0.0, "mean": 2.5, "max": 5.0}
    assert train["sentence_norm"]["max"] == pytest.approx(1, abs=1e-3)
    assert train["frames_per_video"] == {"min": 2, "median": 2.0, "max": 2}
    assert train["tokens_per_caption"] == {"min": 1, "median": 2.0, "max": 2}
    assert train["captions_per_video"] == {"min": 1, "median": 1.5, "max": 2}
    warnings = " | ".join(summary["warnings"])
    for expected in (
        "there is no test split",
        "train: 1 captions have a single token",
        "train: 2 captions (66.7 %) have a text that another video has too",
        "train: 1 captions have no text",
        "train and val share 1 videos",
        "video features: 2 of 5 rows are zero",
        "video features: rows are not of unit length (0 to 5)",
        "video features: 1 dimensions are the same in every row",
    ):
        assert expected in warnings
    assert "text features: " not in warnings


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from orchestrator.commands.data import data\n"
        "data(['import', '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pyarrow', 'numpy', 'h5py'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--val-from-train" in done.stdout

"""`prvr-sweep data extract` as a user runs it: the store, what is said, exit codes."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.commands.item_progress import ItemProgress, item_progress
from prvr_model.store.reader import FeatureStore
from tests.locations import ROOT
from tests.orchestrator.command_line import Done, command, environment, prvr
from tests.small_videos import real_videos, write_audio, write_video
from tests.tiny_encoder import write_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, of which one is broken, captions and an encoder."""
    path = tmp_path_factory.mktemp("extract")
    (path / "videos").mkdir()
    for name in ("a", "b", "été 猫"):
        write_video(path / f"videos/{name}.mp4", [n / 25 for n in range(30)])
    write_audio(path / "videos/song.mp4")
    lines = [{"video": name, "caption": f"about {name}"} for name in ("a", "b", "été 猫", "song")]
    (path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_tiny_clip(path / "tiny")
    return path


OPTIONS = ("--videos", "videos", "--captions", "captions.jsonl", "--encoder", "tiny")


@pytest.fixture
def extract(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs the command in this process, which has imported what takes long."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def running(*more: str) -> Done:
        code = cli.run(["data", "extract", *OPTIONS, *more])
        return Done(code, *capsys.readouterr())

    return running


def test_broken_videos_end_it_and_the_next_try_goes_on(
    folder: Path, extract: Callable[..., Done]
) -> None:
    failed = extract("my.store")
    assert failed.code == 3
    assert "error: 1 of 4 videos cannot be used" in failed.err
    assert "- 'song': it has no video stream, only audio" in failed.err
    assert not (folder / "my.store").exists()

    done = extract("--skip-broken", "my.store")
    assert done.code == 0, done.err
    assert "note: the videos were drawn into 2 train, 1 val, 1 test with seed 0" in done.err
    assert "3 of 4 videos are done already" in done.err
    assert "warning: video 'song' was left out: it has no video stream, only audio" in done.err
    assert "4 of 4 videos, 0 frames/s, 0 s left" in done.err
    store = FeatureStore.open(folder / "my.store")
    assert f"my.store: my, fingerprint {store.manifest.fingerprint}" in done.out
    assert sum(counts.videos for counts in store.manifest.splits.values()) == 3
    # Nothing but the store is left.
    assert {path.name for path in folder.iterdir()} == {
        "videos", "captions.jsonl", "tiny", "my.store"
    }  # fmt: skip


def test_what_contradicts_itself_is_refused(extract: Callable[..., Done]) -> None:
    for more, code, message in (
        (("--split", "0.9,0.2,0.1"), 2, "'0.9,0.2,0.1' is not three numbers with the sum 1"),
        (("--split", "half"), 2, "'half' is not three numbers with the sum 1"),
        (("--address", "auto"), 2, "--address and --storage go together"),
        (
            ("--address", "auto", "--storage", "near"),
            2,
            "--storage near: give an absolute path",
        ),
        (("--encoder", "gone"), 3, "encoder gone is no folder here"),
        (("--captions", "videos"), 3, "videos: Is a directory"),
    ):
        found = extract(*more, "new.store")
        assert (found.code, message in found.err) == (code, True), found.err


def test_progress_says_how_fast_and_how_long() -> None:
    now = [0.0]
    said: list[tuple[str, int]] = []
    progress = ItemProgress(
        10, 2, ("videos", "frames"), lambda *shown: said.append(shown), lambda: now[0]
    )
    now[0] = 60.0
    progress(600)
    now[0] = 120.0
    progress(300)
    assert said == [
        ("3 of 10 videos, 10 frames/s, 7 min 00 s left", 3),
        ("4 of 10 videos, 8 frames/s, 6 min 00 s left", 4),
    ]


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    stream = io.StringIO()
    with item_progress(stream, 3, 0, ("videos", "frames")) as progress:
        for _ in range(3):
            progress(1)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("3 of 3 videos")


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with item_progress(stream, 2, 0, ("videos", "frames")) as progress:
        progress(1)
        progress(1)
    assert "2 of 2 videos" in stream.getvalue()


@pytest.mark.soak
def test_a_killed_extraction_goes_on_and_its_store_is_bit_equal(tmp_path: Path) -> None:
    bikes = next(video for video in real_videos() if video.name == "bikes.mp4").read_bytes()
    (tmp_path / "videos").mkdir()
    lines = []
    for number in range(12):
        (tmp_path / f"videos/v{number}.mp4").write_bytes(bikes)
        lines.append({"video": f"v{number}", "caption": f"ride {number}"})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_tiny_clip(tmp_path / "tiny")
    line = command("data", "extract", *OPTIONS, "--fps", "12", "killed.store")
    running = subprocess.Popen(line, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    parts = tmp_path / ".killed.store.parts"
    while len(list(parts.glob("*.safetensors"))) < 2 and running.poll() is None:
        time.sleep(0.05)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    kept = len(list(parts.glob("*.safetensors")))
    assert 2 <= kept < len(lines)
    again = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert f"{kept} of 12 videos are done already" in again.stderr
    assert not parts.exists()
    undisturbed = [*line[:-1], "whole.store"]
    subprocess.run(undisturbed, cwd=tmp_path, env=environment(), capture_output=True, check=True)
    for name in ("train.videos.arrow", "train.captions.arrow", "val.videos.arrow"):
        stores = [tmp_path / f"{store}.store" for store in ("killed", "whole")]
        assert (stores[0] / name).read_bytes() == (stores[1] / name).read_bytes()


@pytest.mark.soak
@pytest.mark.integration
def test_make_demo_leads_from_pixels_to_a_champion(tmp_path: Path) -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo", "DEMO=demo", "BIN=bin"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = recipe.replace("\\\n", "").splitlines()
    steps = [
        line.split()[1:]
        for line in lines
        if line.startswith(("bin/prvr-sweep ", "bin/python -m tests."))
    ]
    assert [step[0] for step in steps] == ["-m", "data", "launch"]
    subprocess.run([sys.executable, *steps[0]], cwd=tmp_path, env=environment(), check=True)
    for step in steps[1:]:
        done = prvr(*step, cwd=tmp_path)
        assert done.code == 0, done.err
    assert "registered: prvr-clips version 1 as champion" in done.out

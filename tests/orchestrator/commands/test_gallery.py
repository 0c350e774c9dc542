"""`prvr-sweep gallery` and `query`: answers on stdout, the rest on stderr, exit codes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator import cli
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from tests.benchmarks.made_gallery import export_random, made_settings
from tests.orchestrator.command_line import Run
from tests.prvr_model.retrieval.galleries import export_tiny
from tests.prvr_model.tiny import TINY_DATA
from tests.small_videos import write_video
from tests.tiny_encoder import CLIP_DIM, write_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, an exported model and a folder of token features."""
    folder = tmp_path_factory.mktemp("gallery-commands")
    write_synthetic(folder / "store", TINY_DATA)
    export_tiny(folder / "model")
    split = FeatureStore.open(folder / "store").split("val")
    np.save(folder / "one.npy", split.tokens(0))
    np.savez(folder / "two.npz", a=split.tokens(0), b=split.tokens(1))
    return folder


def test_a_gallery_is_built_asked_changed_and_inspected(run: Run, folder: Path) -> None:
    out, err = run("gallery build model store a.gallery --split val")
    assert out.splitlines()[0] == "a.gallery: 8 videos, 0.0 MiB, float32 with a screen, revision 1"
    assert "encoder: not known; it answers token features only" in out
    assert "8 of 8 videos, " in err
    assert "ask it with `prvr-sweep query a.gallery --tokens FILE`" in err
    out, _ = run("query a.gallery --tokens one.npy --top 2")
    assert [line.split()[:1] for line in out.splitlines() if line] == [
        ["token"],
        ["rank"],
        ["1"],
        ["2"],
    ]
    assert "times are not known" in out
    best = out.splitlines()[2].split()[1]
    out, _ = run("query a.gallery --tokens two.npz --top 2 --json")
    first, second = map(json.loads, out.splitlines())
    assert first["answers"][0]["video"] == best
    assert len(second["answers"]) == 2
    out, _ = run(f"gallery remove a.gallery {best}")
    assert "7 videos" in out
    out, _ = run("gallery add a.gallery store --split train")
    assert "19 videos" in out
    out, _ = run("gallery index a.gallery --recall 0.9")
    assert "index: recall@10 " in out
    assert "(wanted 0.9) over 19 queries, rows of the gallery, noisy" in out
    out, _ = run("gallery inspect a.gallery --json")
    about = json.loads(out)
    assert (about["videos"], about["revision"], about["model"]["source"]) == (19, 4, "model")
    assert about["index"]["recall"] >= 0.9
    out, _ = run("query a.gallery --tokens one.npy --top 19 --exact --json")
    assert best not in [answer["video"] for answer in json.loads(out)["answers"]]


def test_an_index_of_a_store_is_measured_with_its_captions(run: Run) -> None:
    made = "gallery build model store i.gallery --split val --dtype bfloat16"
    out, _ = run(f"{made} --no-screen --index ivf")
    assert "bfloat16, revision" in out
    assert "captions of the source" in out


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("query e.gallery a --tokens one.npy", 2, "more than one of SENTENCE, --file and --tokens"),
        ("query e.gallery a", 3, "does not say which encoder made its features"),
        ("query none.gallery a", 3, "there is no gallery at"),
        ("query e.gallery --file none.txt", 2, "--file: none.txt cannot be read: No such file"),
        ("query e.gallery --file blank.txt", 2, "--file: blank.txt has no sentence"),
        ("query e.gallery --tokens none.npy", 2, "--tokens: none.npy cannot be read: No such"),
        ("query e.gallery --tokens blank.txt", 2, "--tokens: blank.txt cannot be read"),
        ("query e.gallery --tokens flat.npy", 2, "has shape (3,) and type float64; wanted finite"),
        ("query e.gallery --tokens empty.npz", 2, "--tokens: empty.npz holds no array"),
        ("query e.gallery --tokens wide.npy", 3, "have shape (2, 3); wanted (one or more, 10)"),
        ("gallery build nothing store x.gallery", 2, "allowed: models:/NAME@champion, a trial"),
        ("gallery build models:/x store x.gallery", 2, "allowed: models:/NAME@ALIAS or"),
        ("gallery build model none x.gallery", 3, "there is no feature store at"),
        ("gallery build model store x.gallery --split all --index hnsw", 2, "'hnsw' is not 'ivf'"),
        ("gallery build model model x.gallery", 3, "model holds no video; looked for files"),
        ("gallery build model store e.gallery", 3, "e.gallery exists; `prvr-sweep gallery add"),
        (
            "gallery add e.gallery .",
            2,
            "can be added; . is a folder of videos",
        ),
        ("gallery remove e.gallery nix", 3, "e.gallery has no video 'nix'; nothing was removed"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    run: Run, folder: Path, line: str, code: int, message: str
) -> None:
    if not (folder / "e.gallery").exists():
        run("gallery build model store e.gallery --split val")
        (folder / "blank.txt").write_text(" \n\n")
        np.save(folder / "flat.npy", np.ones(3))
        np.save(folder / "wide.npy", np.ones((2, 3)))
        np.savez(folder / "empty.npz")
    out, err = run(line, code)
    assert message in err
    assert not out


def test_a_missing_faiss_is_told_before_anything_is_encoded(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    _, err = run("gallery build model store n.gallery --split val --index ivf", 3)
    assert "an index needs faiss, which cannot be imported here" in err
    assert not (folder / "n.gallery").exists()


@pytest.fixture(scope="module")
def videos(folder: Path) -> Path:
    (folder / "videos" / "deep").mkdir(parents=True)
    write_video(folder / "videos" / "b.mp4", [number / 25 for number in range(75)])
    write_video(folder / "videos" / "deep" / "a.mp4", [number / 25 for number in range(40)])
    (folder / "videos" / "broken.mp4").write_bytes(b"no video")
    write_tiny_clip(folder / "tiny-clip")
    export_random(folder / "clip-model", made_settings(16, 4, 8), CLIP_DIM, CLIP_DIM)
    return folder


def test_a_folder_of_videos_answers_sentences(run: Run, videos: Path) -> None:
    build = "gallery build clip-model videos v.gallery"
    _, err = run(build, 2)
    assert "videos is a folder of videos: name the encoder" in err
    _, err = run(f"{build} --encoder tiny-clip", 3)
    assert "video 'broken.mp4' cannot be used: " in err
    out, err = run(f"{build} --encoder tiny-clip --skip-broken --fps 4")
    assert "2 videos" in out
    assert "warning: video 'broken.mp4' cannot be used" in err
    assert "encoder: tiny-clip, weights" in out
    (videos / "queries.txt").write_text("a dog runs\n\ntwo people cook\n")
    out, _ = run("query v.gallery --file queries.txt --encoder tiny-clip --moments 3")
    lines = out.splitlines()
    assert (lines[0], lines[5]) == ("a dog runs", "two people cook")
    [b] = [line for line in lines[:4] if " b.mp4 " in line]
    assert " 0:0" in b
    assert " to 0:0" in b
    sentence = ["query", "v.gallery", "--encoder", "tiny-clip", "--json"]
    typed = CliRunner().invoke(cli.cli, [*sentence, "a dog runs"])
    piped = CliRunner().invoke(cli.cli, [*sentence, "-"], input="a dog runs\n")
    assert json.loads(typed.stdout) == json.loads(piped.stdout)
    from prvr_model.retrieval.gallery import GalleryReader

    reader = GalleryReader.open(videos / "v.gallery")
    assert list(reader.names()) == ["b.mp4", "deep/a.mp4"]
    assert (reader.thumbnail(0) or b"")[:3] == b"\xff\xd8\xff"
    about = reader.videos(np.array([0, 1]))
    np.testing.assert_allclose(about.durations_s, [3.0, 1.6], atol=1e-6)

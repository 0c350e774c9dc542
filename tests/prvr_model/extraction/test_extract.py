"""From videos and a table to a store: what is wrong is listed, what is done is not done again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prvr_model.errors import CorpusError, DataError, StoreError
from prvr_model.extraction import extract
from prvr_model.extraction.decoding import Sampling, VideoFrames
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.extraction.extract import (
    ExtractionPlan,
    ExtractionReport,
    ExtractionRequest,
    extract_parts,
    join_parts,
    plan_extraction,
)
from prvr_model.extraction.parts import Parts, parts_folder, shared_parts
from prvr_model.extraction.pipeline import VideoJob
from prvr_model.files.folder import Folder
from prvr_model.store.reader import FeatureStore
from tests.small_videos import write_audio, write_video

RATE = Sampling(4.0)
NAMES = ("été 猫", "b#1", "c.v2", "d", "e")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        write_video(folder / f"{name}.mp4", [n / 25 for n in range(20 + 10 * number)])
    return folder


def request(
    videos: Path, records: Sequence[dict[str, object]] | None = None, **choices: object
) -> ExtractionRequest:
    captions = videos.parent / "captions.jsonl"
    if records is None:
        records = [{"video": name, "caption": f"{name} {k}"} for name in NAMES for k in "12"]
    captions.write_text("".join(json.dumps(record) + "\n" for record in records))
    target = videos.parent / "my.store"
    return ExtractionRequest(**{
        "videos": videos, "captions": captions, "target": target, "sampling": RATE, **choices
    })  # fmt: skip


def parts_of(plan: ExtractionPlan) -> Parts:
    return Parts(Folder.open(parts_folder(plan.request.target)))


def run(clip: FeatureEncoder, asked: ExtractionRequest) -> ExtractionReport:
    plan = plan_extraction(asked)
    parts = parts_of(plan)
    parts.begin(clip.recipe(4.0), RATE, clip.precision)
    broken = extract_parts(clip, plan.jobs, RATE, parts, 2, lambda _: None)
    return join_parts(plan, clip, parts, broken, lambda _: None)


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def test_a_store_holds_what_was_encoded_and_said(clip: FeatureEncoder, videos: Path) -> None:
    records: list[dict[str, object]] = [
        {"video": "été 猫", "caption": "A dog runs.", "split": "train", "start": 0.25, "end": 0.5},
        {"video": "b#1.mp4", "caption": "two cats", "split": "train", "relevant": ["été 猫", "d"]},
        {"video": "été 猫", "caption": "again", "split": "train", "id": "mine"},
        {"video": "d", "caption": "x", "split": "val"},
        {"video": "e", "caption": "y", "split": "test"},
    ]
    report = run(clip, request(videos, records))
    assert report.notes == ("1 relevant videos are not in their caption's split",)
    manifest = report.manifest
    assert (manifest.recipe, manifest.seconds_per_row) == (clip.recipe(4.0), 0.25)
    assert {name: counts.videos for name, counts in manifest.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    split = FeatureStore.open(videos.parent / "my.store").split("train")
    assert list(split.video_ids) == ["été 猫", "b#1.mp4"]
    assert list(split.caption_ids) == ["été 猫#0", "b#1.mp4#0", "mine"]
    np.testing.assert_allclose(split.durations_s, [0.8, 1.2])
    frames = list(VideoFrames(videos / "b#1.mp4", RATE))
    expected = clip.encode_frames(frames).astype(np.float16)
    np.testing.assert_array_equal(split.frames(1), expected)
    tokens = clip.encode_captions(["A dog runs."])[0].astype(np.float16)
    np.testing.assert_array_equal(split.tokens(0), tokens)


def test_captions_of_an_annotation_file_make_a_store_with_its_moments(
    clip: FeatureEncoder, videos: Path
) -> None:
    (videos / "b#1.mp4").rename(videos / "sta.mp4")
    asked = request(videos, split=(0.5, 0.5, 0.0))
    asked.captions.write_text("sta 0.3 0.5##One sits.\nsta 0 9##Two.\nv_c.v2 5.0 6##Three.\n")
    report = run(clip, asked)
    assert report.notes == (
        f"{asked.captions} is read as Charades-STA: 3 captions",
        "the videos were drawn into 1 train, 1 val, 0 test with seed 0",
        "moments that end past their video and were cut there: 2 ('sta#1' (to 9 s of 1.2 s), "
        "'v_c.v2#0' (to 6 s of 1.6 s))",
        "moments that are empty within their video and were dropped: 1 ('v_c.v2#0')",
    )
    store = FeatureStore.open(asked.target)
    known = {
        name: moments
        for split in map(store.split, store.manifest.splits)
        for name, moments in zip(split.caption_ids, split.moments, strict=True)
    }
    assert known == {"sta#0": [[0.3, 0.5]], "sta#1": [[0.0, 1.2]], "v_c.v2#0": []}


def test_a_killed_extraction_goes_on_and_its_store_is_bit_equal(
    clip: FeatureEncoder, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clip, request(videos))
    undisturbed = files(videos.parent / "my.store")
    (videos.parent / "my.store").rename(videos.parent / "first.store")
    parts_of(plan_extraction(request(videos))).remove()

    plan = plan_extraction(request(videos))
    parts = parts_of(plan)
    parts.begin(clip.recipe(4.0), RATE, clip.precision)
    done: list[int] = []

    def killed_after_two(rows: int) -> None:
        done.append(rows)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_parts(clip, plan.jobs, RATE, parts, 2, killed_after_two)
    decoded: list[str] = []

    def watched(encoder: FeatureEncoder, jobs: Sequence[VideoJob], *rest: object) -> object:
        decoded.extend(job.video for job in jobs)
        return encode_videos(encoder, jobs, *rest)

    encode_videos = extract.encode_videos
    monkeypatch.setattr(extract, "encode_videos", watched)
    assert run(clip, request(videos)).manifest.splits["train"].videos == 3
    assert len(decoded) == len(NAMES) - 2
    assert files(videos.parent / "my.store") == undisturbed


def test_parts_of_other_settings_or_other_files_are_made_again(
    clip: FeatureEncoder, videos: Path
) -> None:
    plan = plan_extraction(request(videos))
    parts = parts_of(plan)
    assert not parts.begin(clip.recipe(4.0), RATE, "float32")
    extract_parts(clip, plan.jobs, RATE, parts, 2, lambda _: None)
    assert not parts_of(plan).begin(clip.recipe(4.0), RATE, "float32")
    assert all(map(parts_of(plan).has, plan.jobs))
    write_video(videos / "d.mp4", [0.0, 0.1])
    again = plan_extraction(request(videos)).jobs
    assert [job.video for job in again if not parts_of(plan).has(job)] == ["d"]
    assert parts_of(plan).begin(clip.recipe(3.0), Sampling(3.0), "float32")
    assert not any(map(parts_of(plan).has, plan.jobs))


def test_stores_and_settings_have_parts_of_their_own_on_a_shared_storage(
    clip: FeatureEncoder, tmp_path: Path
) -> None:
    def place(target: Path, rate: float = 4.0) -> str:
        storage = "s3://bucket/runs?scheme=http"
        return shared_parts(storage, target, clip.recipe(rate), Sampling(rate), "float32")

    mine = place(tmp_path / "my store")
    assert mine.startswith("s3://bucket/runs/my%20store-")
    assert mine.endswith(".parts?scheme=http")
    assert place(tmp_path / "my store") == mine
    assert len({mine, place(tmp_path / "b/my store"), place(tmp_path / "my store", 3.0)}) == 3


def test_a_damaged_part_says_what_to_do(clip: FeatureEncoder, videos: Path) -> None:
    plan = plan_extraction(request(videos))
    parts = parts_of(plan)
    extract_parts(clip, plan.jobs, RATE, parts, 2, lambda _: None)
    next(parts_folder(plan.request.target).glob("*.safetensors")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"is damaged .*; remove it and extract again"):
        join_parts(plan, clip, parts, [], lambda _: None)


@pytest.fixture
def faulty(videos: Path) -> Path:
    (videos / "d.mp4").unlink()
    write_audio(videos / "d.mp4")
    (videos / "e.mp4").write_bytes(b"")
    return videos


def test_broken_videos_are_listed_by_name_with_the_cause(
    clip: FeatureEncoder, faulty: Path
) -> None:
    records = [{"video": name, "caption": "x"} for name in (*NAMES, "gone")]
    with pytest.raises(CorpusError, match=r"^3 of 6 videos cannot be used.*--skip-broken") as error:
        run(clip, request(faulty, records))
    assert error.value.problems == (
        "'d': it has no video stream, only audio",
        "'e': the file is empty",
        f"'gone': no file of this name in {faulty.resolve()}",
    )
    assert not (faulty.parent / "my.store").exists()


def test_broken_videos_are_left_out_when_asked(clip: FeatureEncoder, faulty: Path) -> None:
    report = run(clip, request(faulty, skip_broken=True, split=(1.0, 0.0, 0.0)))
    assert report.warnings == (
        "video 'd' was left out: it has no video stream, only audio",
        "video 'e' was left out: the file is empty",
    )
    split = FeatureStore.open(faulty.parent / "my.store").split("train")
    assert list(split.video_ids) == list(NAMES[:3])
    assert all(np.any(split.frames(number)) for number in range(3))


def test_nothing_leads_out_of_the_folder(videos: Path, tmp_path: Path) -> None:
    outside = write_video(tmp_path / "outside.mp4", [0.0])
    (videos / "link.mp4").symlink_to(outside)
    (videos / "inside.mp4").symlink_to(videos / "d.mp4")
    (videos / "d.mkv").touch()
    names = ["link", "../outside.mp4", "../outside", str(outside), "inside", "d"]
    plan = plan_extraction(request(videos, [{"video": name, "caption": "x"} for name in names]))
    assert [job.video for job in plan.jobs] == ["inside"]
    root = videos.resolve()
    causes = {video.video: video.cause for video in plan.missing}
    assert causes == {
        "link": f"it leads out of {root}, to {outside}",
        "../outside.mp4": f"it leads out of {root}, to {outside}",
        "../outside": f"no file of this name in {root}",
        str(outside): f"it leads out of {root}, to {outside}",
        "d": "several files have this name (d.mkv, d.mp4); name one with its ending",
    }


def test_splits_are_drawn_by_video_and_by_seed(videos: Path) -> None:
    plan = plan_extraction(request(videos, split=(0.6, 0.2, 0.2)))
    splits = {row.video_id: row.split for row in plan.rows}
    assert sorted(splits.values()) == ["test", "train", "train", "train", "val"]
    assert all(row.split == splits[row.video_id] for row in plan.rows)
    assert plan.notes == ("the videos were drawn into 3 train, 1 val, 1 test with seed 0",)
    assert plan_extraction(request(videos, split=(0.6, 0.2, 0.2))).rows == plan.rows
    others = [
        plan_extraction(request(videos, split=(0.6, 0.2, 0.2), seed=seed)).rows
        for seed in range(1, 6)
    ]
    assert any(rows != plan.rows for rows in others)


def test_contradictions_are_refused_before_anything_is_decoded(videos: Path) -> None:
    train = {"video": "d", "caption": "x", "split": "train"}
    with pytest.raises(DataError, match="says the split of each caption, and so does --split"):
        plan_extraction(request(videos, [train], split=(0.8, 0.1, 0.1)))
    with pytest.raises(CorpusError, match=r"'d': train at captions\.jsonl:1, val at .*:2"):
        plan_extraction(request(videos, [train, train | {"split": "val"}]))
    with pytest.raises(
        CorpusError, match=r"caption 'd#1' at captions\.jsonl:1 and captions\.jsonl:2"
    ):
        plan_extraction(request(videos, [train | {"id": "d#1"}, train]))
    with pytest.raises(
        CorpusError, match="1 of 1 videos cannot be used: none of them can be found"
    ):
        plan_extraction(request(videos, [train | {"video": "gone"}]))
    with pytest.raises(DataError, match="2 videos cannot be split into train, val, test"):
        plan_extraction(request(videos, [{"video": v, "caption": "x"} for v in "de"]))
    with pytest.raises(DataError, match="there is no folder"):
        plan_extraction(replace(request(videos), videos=videos / "none"))
    (videos.parent / "my.store").touch()
    with pytest.raises(StoreError, match="exists and is not a feature store"):
        plan_extraction(request(videos))

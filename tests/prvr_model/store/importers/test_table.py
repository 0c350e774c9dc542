"""Tables of captions beside folders of NumPy files: three kinds of table, and no pickles."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from prvr_model.store.importers.annotating import AnnotationFiles
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.importers.every_layout import (
    VIDEO_DIM,
    small_corpus,
    table_rows,
    write_npy,
    written,
)
from tests.prvr_model.store.importers.test_layouts import imported, refusal

CORPUS = small_corpus({"train": {"a": 3, "b": 2}, "val": {"c": 2}})
RELEVANT = {"a": ["a", "b"], "c": ["c", "a"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return written("table", CORPUS, tmp_path / "root")


def rewrite(root: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (root / "captions.jsonl").write_text(lines)


def annotated() -> list[dict[str, Any]]:
    rows = table_rows(CORPUS)
    return [
        {**row, "start": 1.5, "end": 4, "relevant": RELEVANT.get(str(row["video"]))} for row in rows
    ]


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, annotated()[0])
        writer.writeheader()
        for row in annotated():
            relevant = json.dumps(row["relevant"]) if row["relevant"] else ""
            writer.writerow({**row, "relevant": relevant})


def test_all_kinds_of_tables_give_one_store_with_what_they_say(root: Path, tmp_path: Path) -> None:
    rewrite(root, annotated())
    write_csv(root / "captions.csv")
    parquet.write_table(pa.Table.from_pylist(annotated()), root / "captions.parquet")
    assert refusal("table", root) == (
        f"several feature files: {root} has captions.csv, captions.jsonl, captions.parquet; name "
        "one with --captions NAME",
    )
    reports = [
        imported("table", root, tmp_path / kind, captions=f"captions.{kind}")
        for kind in ("csv", "jsonl", "parquet")
    ]
    assert len({report.manifest.fingerprint for report in reports}) == 1
    store = FeatureStore.open(reports[0].store)
    assert store.split("train").moments[0] == [[1.5, 4]]
    assert [list(rows) for rows in store.split("train").relevant] == [[0, 1], [0, 1], [], []]
    assert reports[0].notes == (
        f"there is no test split: {root}/captions.csv has no row of split test",
        "2 relevant videos are not in the split of their caption and were left out (first 'a')",
    )


def test_captions_without_ids_are_numbered_within_their_video(root: Path, tmp_path: Path) -> None:
    rows = table_rows(CORPUS)
    rewrite(root, [{name: row[name] for name in ("video", "caption", "split")} for row in rows])
    tokens = {}
    for caption in CORPUS.captions:
        number = sum(other.video == caption.video for other in CORPUS.captions[: caption.number])
        tokens[f"{caption.video}#enc#{number}"] = CORPUS.tokens[caption.id]
    write_npy(root / "mine", tokens)
    report = imported("table", root, tmp_path / "store", text_features="mine")
    split = FeatureStore.open(report.store).split("val")
    assert list(split.caption_ids) == ["c#enc#0", "c#enc#1"]
    np.testing.assert_array_equal(split.tokens(1), CORPUS.tokens["c#enc#5"])


def test_without_splits_validation_comes_from_train(root: Path, tmp_path: Path) -> None:
    rewrite(root, [{**row, "split": None} for row in table_rows(CORPUS)])
    assert refusal("table", root) == (
        f"missing file: {root}/captions.jsonl has no row of split val; --val-from-train 0.1 takes "
        "validation videos from train",
    )
    report = imported("table", root, tmp_path / "store", val_from_train=0.3)
    assert {name: counts.videos for name, counts in report.manifest.splits.items()} == {
        "train": 2,
        "val": 1,
    }


def test_rows_that_cannot_be_used_are_all_told(root: Path) -> None:
    rows = table_rows(CORPUS)
    rows[0]["split"], rows[1]["video"] = "dev", ""
    rewrite(root, rows)
    assert refusal("table", root)[:2] == (
        "malformed record: captions.jsonl:1, read as table: split is 'dev'; allowed: train, val, "
        "test",
        "malformed record: captions.jsonl:2, read as table: it has no video",
    )


def test_a_table_without_captions(root: Path) -> None:
    (root / "captions.jsonl").write_text('{"video": "a", "words": "x"}\n')
    assert refusal("table", root)[0].startswith(
        f"unknown annotation file: {root}/captions.jsonl: it has video, words; --captions reads"
    )


def test_two_captions_of_one_id(root: Path) -> None:
    rows = table_rows(CORPUS)
    rewrite(root, [*rows, {**rows[0], "caption": "Again."}])
    assert refusal("table", root) == (
        "duplicate id: caption 'a#enc#0' at captions.jsonl:1 and captions.jsonl:7",
    )


class Trap:
    """Its pickle makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


def test_pickles_are_never_read(root: Path, tmp_path: Path) -> None:
    path = root / "video_features" / "b.npy"
    np.save(path, np.array([Trap(tmp_path / "sprung")], object), allow_pickle=True)
    (problem,) = refusal("table", root)
    assert problem == (
        "wrong type: video_features: 'b' holds text or lists of any length, expected floating "
        "point (float16 or float32)"
    )
    path.write_bytes(b"\x80\4\x95pickle")
    assert refusal("table", root) == ("not a NumPy file: video_features/b.npy: it is a pickle",)
    assert not (tmp_path / "sprung").exists()


def test_damaged_files_and_archives_of_several_arrays(root: Path) -> None:
    videos = root / "video_features"
    whole = (videos / "a.npy").read_bytes()
    (videos / "a.npy").write_bytes(whole[:-5])
    (videos / "b.npy").unlink()
    np.savez(videos / "b.npz", one=np.ones((2, VIDEO_DIM)), two=np.ones((2, VIDEO_DIM)))
    (videos / "c.npy").write_bytes(whole[:20])
    problems = refusal("table", root)
    assert problems[0] == (
        "no array: video_features/b.npz holds the arrays 'one', 'two', expected a single one"
    )
    assert problems[1].startswith("unreadable features: video_features/c.npy cannot be read (")
    assert problems[2].startswith("unreadable features: video_features/a.npy cannot be read (")


def test_names_never_lead_out_of_the_folder(root: Path) -> None:
    np.save(root / "secret.npy", CORPUS.frames["a"])
    for name in ("../secret", str(root / "secret"), "x\0y", "x" * 300):
        rewrite(root, [{**row, "video": name} for row in table_rows(CORPUS)[:1]])
        assert any(
            problem.startswith(("caption without video: ", "malformed record: "))
            for problem in refusal("table", root)
        ), name


def test_folders_inside_folders(tmp_path: Path) -> None:
    corpus = small_corpus({"train": {"day/a": 3}, "val": {"day/b": 2}})
    root = written("table", corpus, tmp_path / "root")
    report = imported("table", root, tmp_path / "store")
    assert list(FeatureStore.open(report.store).split("train").video_ids) == ["day/a"]


def test_annotation_files_stand_above_what_the_table_says(root: Path, tmp_path: Path) -> None:
    rewrite(root, annotated())
    moments = tmp_path / "moments.csv"
    moments.write_text("caption_id,start,end,duration\na#enc#0,7,8,9\n")
    report = imported(
        "table", root, tmp_path / "store", annotations=AnnotationFiles(moments=[moments])
    )
    split = FeatureStore.open(report.store).split("train")
    assert list(split.moments) == [[[7, 8]], [[1.5, 4]], [[1.5, 4]], [[1.5, 4]]]
    assert [list(rows) for rows in split.relevant][:2] == [[0, 1], [0, 1]]

"""Captions of tables in three formats and of annotation files; each fault says where it is."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.importers.annotation_files import read_captions
from prvr_model.store.importers.annotation_forms import CaptionRecord
from prvr_model.store.importers.problems import Problems
from tests.prvr_model.store.importers.test_annotation_files import FORMS, MOMENTS, text_of

RECORDS: list[dict[str, object]] = [
    {"video": "été 猫", "caption": 'A "dog", runs.', "split": "train"},
    {"video": "b#1", "caption": "line one\nline two", "split": "val", "start": 1.5, "end": 4.0},
    {"video": "c", "caption": "x", "split": "test", "relevant": ["c", "d"], "other": 1},
]
FORMATS = ("csv", "jsonl", "parquet")


def write(path: Path, records: Sequence[Mapping[str, object]]) -> Path:
    names = list(dict.fromkeys(name for record in records for name in record))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".parquet":
        columns = {name: [record.get(name) for record in records] for name in names}
        parquet.write_table(pa.table(columns), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            for record in records:
                lists = {k: json.dumps(v) for k, v in record.items() if isinstance(v, list)}
                writer.writerow({**record, **lists})
    return path


def captions(path: Path) -> Sequence[CaptionRecord]:
    problems = Problems()
    read = read_captions(path, problems)
    assert problems.lines() == []
    assert read is not None
    return read.records


def faults(path: Path) -> list[str]:
    problems = Problems()
    read_captions(path, problems)
    return problems.lines()


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    rows = captions(write(tmp_path / f"captions.{suffix}", RECORDS))
    assert [(row.video_id, row.text, row.split) for row in rows] == [
        (record["video"], record["caption"], record["split"]) for record in RECORDS
    ]
    assert [row.annotation for row in rows] == [
        CaptionAnnotation(),
        CaptionAnnotation(((1.5, 4.0),)),
        CaptionAnnotation((), ("c", "d")),
    ]


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"in order", "lines"}))
def test_annotation_files_are_captions_too(form: str, tmp_path: Path) -> None:
    FORMS[form][1](tmp_path / "file")
    found = {
        (row.video_id.removeprefix("v_"), row.text): row.moments
        for row in captions(tmp_path / "file")
    }
    assert found == {(name[0], text_of(name).strip()): (span,) for name, span in MOMENTS.items()}


def test_annotation_files_without_sentences_have_no_captions(tmp_path: Path) -> None:
    FORMS["in order"][1](tmp_path / "file")
    assert faults(tmp_path / "file")[0] == "malformed record: file: 'v_a' has no caption (2 items)"


def test_verified_labels_are_captions_with_their_videos(tmp_path: Path) -> None:
    path = write(
        tmp_path / "labels", [{"query_id": "a#enc#0", "caption": "x", "gt_video_ids": ["a", "b"]}]
    )
    path.write_text(json.dumps({"query_id": "a#0", "caption": "x", "gt_video_ids": ["a", "b"]}))
    place = "labels, record 1"
    assert captions(path) == (CaptionRecord("a#0", "a", "x", place, relevant=("a", "b")),)


def test_a_csv_row_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes("\ufeffvideo,caption\r\n1,a\r\n2,b\r\n".encode())
    assert captions(tmp_path / "c.csv") == (
        CaptionRecord("", "1", "a", "c.csv:2"),
        CaptionRecord("", "2", "b", "c.csv:3"),
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_fault_is_listed_with_its_place(suffix: str, tmp_path: Path) -> None:
    faulty: dict[str, Mapping[str, object]] = {
        "split is 'dev'; allowed: train, val, test": {"split": "dev"},
        "allowed: seconds, 0 <= start < end, or neither": {"start": "3", "end": "2.0"},
        "end is None; allowed: seconds": {"start": "3"},
        "start is 'soon', end is 'later'; allowed: seconds": {"start": "soon", "end": "later"},
        "it names neither a caption_id nor a video and a caption": {"caption": " "},
    }
    good = {"video": "a", "caption": "b", "split": "train"}
    rows = [good, *({**good, **fault} for fault in faulty.values())]
    places = [
        {"parquet": f", row {n}", "csv": f":{n + 1}"}.get(suffix, f":{n}") for n in range(2, 7)
    ]
    for line, place, message in zip(
        faults(write(tmp_path / f"c.{suffix}", rows)), places, faulty, strict=True
    ):
        assert line.startswith(f"malformed record: c.{suffix}{place}, read as table: ")
        assert message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,caption,relevant\na,b,c;d\n", "relevant is 'c;d'; allowed: a list"),
        ("video,caption\na,hello, you\n", "c:2 has more values than the header; quote commas"),
        ('video,caption\na,"b\n', "is not CSV (unexpected end of data)"),
        ("video,caption,split\na,b,val\nc,d,\n", "c:3: no split, though other rows have one"),
        ("video,id,caption\na,b,\n", "c:2 has no caption"),
        ("", "c: it is empty"),
        ("videos,caption\na,b\n", "it has videos, caption; did you mean videos?; --captions reads"),
        ("video,caption\n\xff,b\n", "c: it is not UTF-8 text"),
        ("video,caption\n", "c: holds no records"),
        ("[1]\n", "a JSON list of other things than objects"),
    ],
)
def test_what_cannot_be_read_is_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(content.encode("latin-1"))
    assert message in faults(tmp_path / "c")[0]


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    assert "No such file" in faults(tmp_path / "missing.csv")[0]
    assert "Is a directory" in faults(tmp_path)[0]

"""One table of captions in three formats; each fault is a line that says where it is."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from prvr_model.errors import CorpusError, DataError
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.caption_table import CaptionRow, read_caption_table

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


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    rows = read_caption_table(write(tmp_path / f"captions.{suffix}", RECORDS))
    assert [(row.video, row.caption, row.split) for row in rows] == [
        (record["video"], record["caption"], record["split"]) for record in RECORDS
    ]
    assert [row.annotation for row in rows] == [
        CaptionAnnotation(),
        CaptionAnnotation(((1.5, 4.0),)),
        CaptionAnnotation((), ("c", "d")),
    ]


def test_a_csv_row_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes("\ufeffvideo,caption\r\n1,a\r\n2,b\r\n".encode())
    assert read_caption_table(tmp_path / "c.csv") == [
        CaptionRow("c.csv:2", "1", "a"),
        CaptionRow("c.csv:3", "2", "b"),
    ]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"split": "dev"}, "split is 'dev'; allowed: train, val, test"),
        ({"start": 3.0, "end": 2.0}, r"allowed: seconds, 0 <= start < end, or neither"),
        ({"start": 3.0}, r"end is None; allowed: seconds, 0 <= start < end, or neither"),
        ({"start": "soon", "end": "later"}, "start is 'soon'; allowed: seconds"),
        ({"caption": " "}, r"caption is .*; allowed: text"),
    ],
)
def test_each_fault_is_listed_with_its_place(
    suffix: str, fault: dict[str, object], message: str, tmp_path: Path
) -> None:
    good = {"video": "a", "caption": "b", "split": "train"}
    path = write(tmp_path / f"c.{suffix}", [{**good, **fault}, {**good, **fault}])
    with pytest.raises(CorpusError, match=message) as caught:
        read_caption_table(path)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[1].startswith({"parquet": "c.parquet, row 2"}.get(suffix, "c."))


def test_a_relevant_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("video,caption,relevant\na,b,c;d\n")
    with pytest.raises(CorpusError, match=r"relevant is 'c;d'; allowed: a list"):
        read_caption_table(tmp_path / "c.csv")


def test_a_split_for_some_rows_alone_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [RECORDS[0], {"video": "z", "caption": "b"}])
    with pytest.raises(CorpusError, match=r"c\.jsonl:2: no split, though other rows have one"):
        read_caption_table(path)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"video": "a", "caption": ""}] * 30)
    with pytest.raises(CorpusError, match=r"30 rows cannot be used(.|\n)*and 10 more"):
        read_caption_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", b"", r"c\.txt is no table of captions; allowed: \.csv"),
        ("c.csv", b"", "has no column 'video'; it has none"),
        ("c.csv", b"videos,caption\na,b\n", "has no column 'video'.*did you mean videos"),
        ("c.csv", b"video,caption\n\xff,b\n", "is not CSV in UTF-8"),
        ("c.csv", b"video,caption\n", "has no captions"),
        ("c.jsonl", b"[1]\n", "is not a JSON object"),
        ("c.parquet", b"video", "is not Parquet"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_caption_table(tmp_path / name)
    with pytest.raises(DataError, match="cannot read"):
        read_caption_table(tmp_path / "missing.csv")

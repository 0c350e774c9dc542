"""Moments, lengths and verified labels: every form of file gives the same store."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from prvr_model.errors import CorpusError
from prvr_model.retrieval.sanity import judge
from prvr_model.store.importers.annotating import AnnotationFiles
from prvr_model.store.importers.corpus import ImportChoices, ImportReport
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.corpora import MscCorpus, import_msc, tiny_corpus

# What every form says: two captions a video, moments of each, length of each video.
LENGTHS = {"a": 10.0, "b": 20.5, "c": 30.0, "d": 40.0}
MOMENTS = {
    f"{video}#enc#{number}": (number + 0.5, length / 2 + number)
    for video, length in LENGTHS.items()
    for number in range(2)
}


def text_of(caption_id: str) -> str:
    """The caption as `tiny_corpus` writes it, spelled as another release might."""
    video, _, number = caption_id.partition("#enc#")
    return f"  caption {number}  of {video}"


def rows(*columns: str) -> list[dict[str, object]]:
    """Rows of a table with some of the columns that a moment file may have."""
    every = [
        {
            "video": (video := caption_id[0]),
            "vid": video,
            "vid_name": video,
            "caption_id": caption_id,
            "caption": text_of(caption_id),
            "desc": text_of(caption_id),
            "query": text_of(caption_id),
            "start": span[0],
            "end": span[1],
            "ts": list(span),
            "relevant_windows": [list(span)],
            "duration": LENGTHS[video],
        }
        for caption_id, span in MOMENTS.items()
    ]
    return [{name: row[name] for name in columns} for row in every]


def write_lines(path: Path, values: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def write_csv(path: Path, values: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(values[0]))
        writer.writeheader()
        writer.writerows(values)


def by_video(spans: str, *, texts: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = {}
        for video, length in LENGTHS.items():
            own = [caption for caption in MOMENTS if caption[0] == video]
            content[f"v_{video}"] = {"duration": length, spans: [MOMENTS[name] for name in own]}
            if texts:
                # In another order: only the texts can tell.
                content[f"v_{video}"][spans].reverse()
                content[f"v_{video}"]["sentences"] = [text_of(name) for name in own[::-1]]
        path.write_text(json.dumps(content))

    return write


def write_charades(path: Path) -> None:
    lines = (f"{name[0]} {a} {b}##{text_of(name)}\n" for name, (a, b) in MOMENTS.items())
    path.write_text("".join(lines))
    lengths = [{"id": video, "script": "a,\nb", "length": s} for video, s in LENGTHS.items()]
    write_csv(path.with_name("Charades_v1_train.csv"), lengths)


TABLE = ("video", "caption", "start", "end", "duration")
FORMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "tvr": ("TVR", lambda path: write_lines(path, rows("vid_name", "desc", "ts", "duration"))),
    "qvh": (
        "QVHighlights",
        lambda path: write_lines(path, rows("vid", "query", "relevant_windows", "duration")),
    ),
    "activitynet": ("ActivityNet", by_video("timestamps", texts=True)),
    "in order": ("ActivityNet", by_video("moments", texts=False)),
    "charades": ("Charades-STA", write_charades),
    "csv": ("table", lambda path: write_csv(path, rows(*TABLE))),
    "lines": ("table", lambda path: write_lines(path, rows("caption_id", *TABLE[2:]))),
    "list": ("table", lambda path: path.write_text(json.dumps(rows(*TABLE)))),
    "parquet": (
        "table",
        lambda path: parquet.write_table(pa.Table.from_pylist(rows(*TABLE)), path),
    ),
}


def imported(folder: Path, files: AnnotationFiles, corpus: MscCorpus | None = None) -> ImportReport:
    corpus = corpus or tiny_corpus()
    root = corpus.write(folder / "root")
    return import_msc(root, corpus.name, folder / "store", ImportChoices(annotations=files))


def known(report: ImportReport) -> tuple[dict[str, object], dict[str, float]]:
    """Moments by caption id and lengths by video."""
    moments, lengths = {}, {}
    store = FeatureStore.open(report.store)
    store.verify()
    for split in map(store.split, store.manifest.splits):
        moments |= dict(zip(split.caption_ids, split.moments, strict=True))
        lengths |= dict(zip(split.video_ids, split.durations_s.tolist(), strict=True))
    return moments, lengths


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_moments_and_lengths(form: str, tmp_path: Path) -> None:
    kind, write = FORMS[form]
    write(tmp_path / "moments")
    report = imported(tmp_path, AnnotationFiles(moments=[tmp_path / "moments"]))
    moments, lengths = known(report)
    assert moments == {caption: [list(span)] for caption, span in MOMENTS.items()}
    assert lengths == LENGTHS
    assert f"holds moments in the form of {kind}: 8 records, lengths of" in " ".join(report.notes)
    assert "8 of 8 captions have moments" in report.notes
    assert report.manifest.source["annotations"]["moments"] == [{"file": "moments", "kind": kind}]


@pytest.mark.parametrize("form", ["tvr", "csv"])
def test_types_of_queries_are_kept_where_they_are_named(form: str, tmp_path: Path) -> None:
    values = rows(*(("vid_name", "desc", "ts", "duration") if form == "tvr" else TABLE))
    kinds = ["v", "vt", "t", "", "v", "v", "vt", "t"]
    column = "type" if form == "tvr" else "query_type"
    typed = [{**row, column: kind} for row, kind in zip(values, kinds, strict=True)]
    (write_lines if form == "tvr" else write_csv)(tmp_path / "moments", typed)
    store = FeatureStore.open(imported(tmp_path, AnnotationFiles([tmp_path / "moments"])).store)
    splits = [store.split(name) for name in store.manifest.splits]
    found = [kind for split in splits for kind in split.query_types]
    assert sorted(found) == sorted(kinds)
    named = {n: k for split in splits for n, k in zip(split.caption_ids, split.query_types)}  # noqa: B905
    assert named == dict(zip(MOMENTS, kinds, strict=True))
    assert judge(store).query_types == {"v": 3, "vt": 2, "t": 2}


def test_a_table_may_name_a_caption_twice_and_a_text_two_captions(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["val"] = ["c#enc#0 The same.", "c#enc#1 the same"]
    values = [
        {"video": video, "caption": caption, "start": start, "end": start + 1}
        for video, caption, start in [
            ("a", "Caption 0 of a.", 1),
            ("a", "Caption 0 of a.", 5),
            ("c", "The same", 2),
            ("c", "The same", 3),
        ]
    ]
    write_csv(tmp_path / "moments", values)
    moments, lengths = known(imported(tmp_path, AnnotationFiles([tmp_path / "moments"]), corpus))
    assert moments["a#enc#0"] == [[1, 2], [5, 6]]
    assert [moments["c#enc#0"], moments["c#enc#1"]] == [[[2, 3]], [[3, 4]]]
    assert np.isnan(lengths["a"])


def test_pieces_of_a_youtube_video_follow_each_other(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["x_y"], "val": ["c"]})
    pieces = [("x_y_150.0_300.0", 1, [[1, 3], [8, 9]]), ("x_y_0.0_100.0", 0, [[4, 6]])]
    lines = [
        {"vid": vid, "query": f"Caption {k} of x_y.", "relevant_windows": spans, "duration": length}
        for (vid, k, spans), length in zip(pieces, (150, 100), strict=True)
    ]
    write_lines(tmp_path / "moments", lines)
    moments, lengths = known(imported(tmp_path, AnnotationFiles([tmp_path / "moments"]), corpus))
    assert [moments["x_y#enc#0"], moments["x_y#enc#1"]] == [[[4, 6]], [[101, 103], [108, 109]]]
    assert lengths["x_y"] == 250


def test_what_does_not_fit_is_counted_with_the_first_names(tmp_path: Path) -> None:
    lines = rows("vid_name", "desc", "ts", "duration")[:4]
    lines[0]["ts"], lines[1]["ts"], lines[2]["desc"] = [-1, 12], [11, 12], "another caption"
    lines += [{**lines[0], "vid_name": f"elsewhere{number}"} for number in range(5)]
    lines.append({**lines[3], "duration": 25, "desc": "one more"})
    write_lines(tmp_path / "moments", lines)
    report = imported(tmp_path, AnnotationFiles([tmp_path / "moments"]))
    moments, _ = known(report)
    assert moments["a#enc#0"] == [[0, 10]]
    assert set(report.notes[1:]) == {
        "2 of 8 captions have moments",
        "captions without a moment: 6 ('a#enc#1', 'b#enc#0', 'c#enc#0', ...)",
        "videos of the moment files that are not in the corpus: 5 ('elsewhere0', 'elsewhere1', "
        "'elsewhere2', ...)",
        "moments that end past their video and were cut there: 2 ('a#enc#0' (to 12 s of 10 s), "
        "'a#enc#1' (to 12 s of 10 s))",
        "moments that are empty within their video and were dropped: 1 ('a#enc#1')",
    }


def test_lengths_may_come_from_a_file_and_two_that_differ_are_told(tmp_path: Path) -> None:
    FORMS["csv"][1](tmp_path / "moments")
    (tmp_path / "lengths.csv").write_text("id,length\na,12\nb,20.7\nc,\n")
    files = AnnotationFiles([tmp_path / "moments"], tmp_path / "lengths.csv")
    with pytest.raises(CorpusError, match=r"malformed duration: lengths.csv:4: 'c' lasts ''"):
        imported(tmp_path, files)
    (tmp_path / "lengths.csv").write_text("id,length\na,12\nb,20.7\n")
    report = imported(tmp_path, files)
    assert known(report)[1] == LENGTHS
    told = "videos whose two lengths differ, of which the first was taken: 1 ('a' (10 s and 12 s))"
    assert told in report.notes
    (tmp_path / "lengths.csv").write_text("name,size\n")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(CorpusError, match=r"has columns name, size; wanted are id and length"):
        imported(tmp_path, files)


REFUSED = {
    "": r"not an annotation file: .*moments: it is empty",
    "who, what\n1, 2\n": r"it has who,  what; --moments reads TVR and QVHighlights JSON lines",
    '{"query_id": "a", "gt_video_ids": []}\n': r"gt_video_ids; it is for --relevance; --moments",
    '{"vid_name": "a", "desc": "x", "ts": [1]}\n': r"record: moments, record 1, read as TVR",
    '{"vid_name": "a", "desc": "x", "ts": [0, 1]}\n{"vid_name"\n': r"moments:2 is not JSON",
    "video,caption,start,end\na,b,NaN,2\n": r"moments:2, read as table: start is 'NaN'",
    "video,caption,start,end\na,,1,2\n": r"names neither a caption_id nor a video and a caption",
    "zz 1 2##Somebody sits.\n": r"moments of another data set: .* in it; it names 'zz'",
    "a 1 2##Somebody sits.\n": r"it names the videos, but other captions",
    "[1]": r"a JSON list of other things than objects",
}


@pytest.mark.parametrize("content", REFUSED)
def test_a_file_of_another_kind_or_data_set_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "moments").write_text(content)
    with pytest.raises(CorpusError, match=REFUSED[content]) as caught:
        imported(tmp_path, AnnotationFiles([tmp_path / "moments"]))
    assert caught.value.exit_code == 3
    assert not (tmp_path / "store").exists()


def test_verified_labels_name_videos_of_their_split(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["a"], "val": ["c", "d", "e"]})
    labels = [
        {"query_id": "v_c#0", "caption": "other words", "gt_video_ids": ["v_d", "c", "c"]},
        {"query_id": "d#enc#9", "caption": "CAPTION 1 of d", "gt_video_ids": ["d"]},
        {"query_id": "e#enc#0", "caption": "", "gt_video_ids": ["a", "e"]},
        {"query_id": "zz#enc#0", "caption": "nobody's", "gt_video_ids": ["c"]},
    ]
    write_lines(tmp_path / "labels", labels)
    report = imported(tmp_path, AnnotationFiles(relevance=[tmp_path / "labels"]), corpus)
    split = FeatureStore.open(report.store).split("val")
    found = dict(zip(split.caption_ids, split.relevant, strict=True))
    named = {"c#enc#0": [0, 1], "d#enc#1": [1], "e#enc#0": [2]}
    assert found == {caption: named.get(caption, []) for caption in split.caption_ids}
    told = " ".join(report.notes)
    assert "3 of 8 captions have verified videos, 1 more than one" in told
    assert "labels of no caption of the corpus: 1 ('zz#enc#0')" in told
    assert "captions with verified videos that are not in their split: 1 ('e#enc#0')" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": 1}', r"it has query; --relevance reads JSON lines with query_id"),
        ('{"query_id": 1, "gt_video_ids": []}', r"record 1, read as verified labels: wanted are"),
        ('{"query_id": "a#0", "gt_video_ids": []}\n{', r"malformed record: labels:2 is not JSON"),
        ('{"query_id": "zz#0", "gt_video_ids": []}', r"labels of another data set: .*'zz#0'"),
        ('{"query_id": "a#0", "gt_video_ids": ["d"]}', r"caption's split, e.g. for 'a#enc#0'"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(content)
    with pytest.raises(CorpusError, match=message):
        imported(tmp_path, AnnotationFiles(relevance=[tmp_path / "labels"]))


@pytest.mark.parametrize("kind", ["moments", "durations", "relevance"])
def test_a_file_that_is_not_there_is_told_before_the_corpus_is_read(
    kind: str, tmp_path: Path
) -> None:
    missing = tmp_path / "none.json"
    files = AnnotationFiles(**{kind: missing if kind == "durations" else [missing]})
    tiny_corpus({"train": ["a"]}).write(tmp_path / "corpus")
    read: list[object] = []
    with pytest.raises(CorpusError, match=r"there is no file .*none\.json"):
        import_msc(
            tmp_path / "corpus",
            "tiny",
            tmp_path / "s",
            ImportChoices(annotations=files),
            read.append,
        )
    assert read == []

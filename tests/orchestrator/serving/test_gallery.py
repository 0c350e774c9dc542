"""A gallery answers typed sentences as evaluation ranks them, or says why it cannot."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import orchestrator
from orchestrator.base.errors import QueryError
from orchestrator.serving.answers import merged
from orchestrator.serving.building import add_to_gallery, build_gallery, index_gallery
from orchestrator.serving.gallery import Gallery
from orchestrator.serving.models import FoundModel
from orchestrator.serving.sources import StoreSource
from prvr_model.errors import DataError, GalleryError, StoreError
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model_file import load_exported
from prvr_model.retrieval import gallery_writer
from prvr_model.retrieval.evaluation import build_relevance, evaluate
from prvr_model.retrieval.gallery import Shard
from prvr_model.settings import SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.benchmarks.made_gallery import export_random, made_settings
from tests.locations import ROOT
from tests.orchestrator.serving.conftest import write_store


@pytest.fixture
def gallery(gallery_path: Path, encoder_folder: Path) -> Gallery:
    return Gallery.open(gallery_path, encoder=encoder_folder)


def test_each_sentence_of_a_split_ranks_its_video_as_evaluation_does(
    gallery: Gallery, store_path: Path, model: FoundModel
) -> None:
    store = FeatureStore.open(store_path)
    split, saved = store.split("val"), load_exported(model.export)
    network, settings = saved.build(torch.device("cpu")), saved.settings
    relevance = build_relevance(split, settings.evaluation)
    prepared = prepare_split(store, "val", settings)
    wanted = evaluate(network, prepared, relevance, SpeedSettings()).ranks
    for number, sentence in enumerate(split.caption_texts):
        video = split.video_ids[split.caption_video[number]]
        answers = gallery.query(sentence, top=10)
        [rank] = [answer.rank for answer in answers if answer.video == video]
        assert rank == wanted[number]
        assert [answer.rank for answer in answers] == list(range(1, 11))
    assert len(set(wanted.tolist())) > 3


def test_answers_are_plain_and_become_a_table(gallery: Gallery) -> None:
    answers = gallery.query("she opens the fridge", top=3, moments=2)
    table = answers.to_arrow()
    assert table.column_names == ["rank", "video", "score", "start_s", "end_s", "moments"]
    assert table["rank"].to_pylist() == [1, 2, 3]
    best = answers[0]
    assert table["start_s"][0].as_py() == best.start_s == best.moments[0].start_s
    assert best.duration_s is not None
    for answer in answers:
        for moment in answer.moments:
            assert 0 <= moment.start_s < moment.end_s <= (answer.duration_s or 0) + 1e-6
    assert 1 <= len(best.moments) <= 2
    assert len(best.strip) == 8
    assert answers.to_dict()["query"] == "she opens the fridge"


def test_many_sentences_get_what_each_gets_alone(gallery: Gallery) -> None:
    sentences = [f"sentence {number}" for number in range(7)]
    for sentence, answers in zip(sentences, gallery.query_all(sentences, top=4), strict=True):
        alone = gallery.query(sentence, top=4)
        assert [entry.video for entry in answers] == [entry.video for entry in alone]
        np.testing.assert_allclose([entry.score for entry in answers],
                                   [entry.score for entry in alone], atol=1e-6)  # fmt: skip
    assert gallery.query_all([]) == []


def test_shards_merge_into_the_answer_of_the_whole(
    tmp_path: Path, store_path: Path, model: FoundModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_writer, "_BATCH_BYTES", 1)
    monkeypatch.setattr("prvr_model.retrieval.gallery_encoding.ENCODING_BLOCK", 3)
    path = tmp_path / "all.gallery"
    build_gallery(model, StoreSource.open(store_path, "all"), path, "float32")
    captions = StoreSource.open(store_path, "val").captions()[:4]
    [*whole] = Gallery.open(path).query_tokens(captions, top=6)
    shards = [Gallery.open(path, shard=Shard(index, 3)) for index in range(3)]
    parts = [shard.query_tokens(captions, top=6) for shard in shards]
    for number, answers in enumerate(whole):
        found = merged([part[number].answers for part in parts], 6)
        assert found == answers.answers


def test_an_index_is_used_unless_all_videos_are_to_be_scored(
    tmp_path: Path, store_path: Path, model: FoundModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = tmp_path / "all.gallery", StoreSource.open(store_path, "all")
    build_gallery(model, source, path, "bfloat16")
    index = index_gallery(path, 1.0, source.captions()).index
    assert index is not None
    assert (index.recall, index.queries, index.query_source) == (1, 21, "captions of the source")
    captions = source.captions()[:3]
    indexed = Gallery.open(path).query_tokens(captions)
    exact = Gallery.open(path, exact=True).query_tokens(captions)
    for found, wanted in zip(indexed, exact, strict=True):
        assert [answer.video for answer in found] == [answer.video for answer in wanted]
    monkeypatch.setattr("prvr_model.retrieval.found_videos.search", None)
    assert Gallery.open(path).query_tokens(captions) == indexed


def test_a_gallery_grows_by_the_same_recipe_only(
    tmp_path: Path, store_path: Path, gallery_path: Path, other_encoder_folder: Path
) -> None:
    path = shutil.copytree(gallery_path, tmp_path / "grown.gallery")
    assert add_to_gallery(path, StoreSource.open(store_path, "test")).num_videos == 20
    other = FeatureEncoder.load(str(other_encoder_folder))
    stranger = StoreSource.open(write_store(tmp_path / "other.store", other, 4, "w"), "val")
    with pytest.raises(GalleryError, match=r"different ways: encoder: tiny-clip and other-clip; "):
        add_to_gallery(path, stranger)
    assert Gallery.open(path).reader.num_videos == 20


def test_what_does_not_fit_is_refused_with_both_values(
    tmp_path: Path, store_path: Path, gallery_path: Path, other_encoder_folder: Path
) -> None:
    wrong = Gallery.open(gallery_path, encoder=other_encoder_folder)
    with pytest.raises(GalleryError, match=r"other-clip is not the one .*weights_sha256: \w+ and"):
        wrong.query("a dog runs")
    with pytest.raises(StoreError, match=r"sentence 1 have shape \(2, 5\); wanted \(one or more"):
        wrong.query_tokens([np.ones((2, 5), np.float32)])
    other = FoundModel(export_random(tmp_path / "m", made_settings(16, 4, 8), 9, 24), "mine")
    with pytest.raises(GalleryError, match=r"rows of videos have 24 values, the model mine takes"):
        build_gallery(other, StoreSource.open(store_path, "val"), tmp_path / "g", "float32")
    path = shutil.copytree(gallery_path, tmp_path / "changed.gallery")
    shutil.copy(other.export / "model.safetensors", path / "model")
    with pytest.raises(GalleryError, match=r"is not the model .*weights_sha256: \w+ and \w+"):
        Gallery.open(path).query_tokens([np.ones((2, 24), np.float32)])


def test_what_cannot_be_asked_is_told(
    gallery: Gallery, gallery_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(QueryError, match="sentence 2 is empty"):
        gallery.query_all(["a dog runs", "  "])
    with pytest.raises(QueryError, match="top: found 0; allowed: 1 or more"):
        gallery.query("a dog runs", top=0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"tiny-clip is no folder here.*put its.*--encoder FOLDER"):
        Gallery.open(gallery_path).query("a dog runs")


def test_videos_of_unknown_length_have_no_moments(
    tmp_path: Path, model: FoundModel, store_path: Path
) -> None:
    source = StoreSource.open(store_path, "train")
    manifest = source.store.manifest
    source.store.manifest = manifest.model_copy(update={"seconds_per_row": None})
    build_gallery(model, source, tmp_path / "g", "float32")
    [answers] = Gallery.open(tmp_path / "g").query_tokens(source.captions())
    assert answers[0].duration_s is None
    assert answers[0].moments == ()
    assert answers.to_arrow()["start_s"].to_pylist() == [None]


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = made_settings(16, 4, 8)
    write_synthetic(tmp_path / "store", SyntheticSettings(train_videos=1, val_videos=5))
    export = export_random(tmp_path / "model", settings, 64, 48)
    source = StoreSource.open(tmp_path / "store", "val")
    build_gallery(FoundModel(export, "made"), source, tmp_path / "my.gallery", "float32")
    page = (ROOT / "orchestrator" / "serving" / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["1", "2", "3", "3"]


def test_the_api_is_reached_from_the_package(gallery_path: Path) -> None:
    assert orchestrator.Gallery is Gallery
    assert orchestrator.Gallery.open(str(gallery_path)).reader.num_videos == 10

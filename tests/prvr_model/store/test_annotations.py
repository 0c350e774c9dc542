"""What is known besides features: moments, labels, types; earlier versions stay readable."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from prvr_model.errors import DataError
from prvr_model.store.annotations import NOTHING_KNOWN, CaptionAnnotation
from prvr_model.store.reader import FeatureStore
from prvr_model.store.recipe import FeatureRecipe
from prvr_model.store.writer import StoreWriter

VERSION_1 = Path(__file__).parent / "version_1.store"
KNOWN = CaptionAnnotation([(0.5, 2), (3, 4.25)], ["v1", "v0"], "vt")
RECIPE = FeatureRecipe(
    encoder="tiny",
    architecture="CLIPModel",
    weights_sha256="0" * 64,
    preprocessing_sha256="1" * 64,
    frames_per_second=3,
    sentence_row="eos",
    max_tokens=77,
)


def write(
    path: Path, annotation: CaptionAnnotation = NOTHING_KNOWN, duration_s: float = math.nan
) -> FeatureStore:
    """The content of the store of version 1 beside this file, and what else is known."""
    with StoreWriter(
        path, name="new", video_dim=3, text_dim=3, recipe=RECIPE, seconds_per_row=0.5
    ) as writer:
        rows = [np.full((2 + number, 3), number + 1, np.float32) for number in range(2)]
        for number in range(2):
            writer.add_video("train", f"v{number}", rows[number], duration_s)
        for number in range(2):
            caption = (f"v{number}#0", f"v{number}", f"text {number}", rows[number][:1])
            writer.add_caption("train", *caption, annotation)
    return FeatureStore.open(path)


def test_version_1_is_read_and_nothing_more_is_known_of_it() -> None:
    store = FeatureStore.open(VERSION_1)
    store.verify()
    split = store.split("train")
    assert (store.manifest.recipe, store.manifest.seconds_per_row) == (None, None)
    assert np.isnan(split.durations_s).all()
    assert list(split.moments) == list(split.relevant) == [(), ()]
    assert list(split.query_types) == ["", ""]
    assert split.frames(1).tolist() == [[2, 2, 2]] * 3


def test_version_2_is_read_without_types_of_queries(tmp_path: Path) -> None:
    store = write(tmp_path / "s", replace(KNOWN, query_type=""))
    file = store.path / "train.captions.arrow"
    table = pa.ipc.open_file(file.read_bytes()).read_all().drop_columns("query_type")
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_file(out, table.schema) as arrow:
        arrow.write_table(table)
    about = json.loads((store.path / "manifest.json").read_text())
    about["format_version"] = 2
    about["files"][file.name]["size_bytes"] = file.stat().st_size
    (store.path / "manifest.json").write_text(json.dumps(about))
    old = FeatureStore.open(store.path)
    old.verify()
    assert list(old.split("train").query_types) == ["", ""]
    assert old.split("train").moments[1] == [[0.5, 2], [3, 4.25]]


def test_what_is_known_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = write(tmp_path / "s", KNOWN, duration_s=5.5)
    store.verify()
    split = store.split("train")
    assert split.durations_s.tolist() == [5.5, 5.5]
    assert split.moments[1] == [[0.5, 2], [3, 4.25]]
    assert split.relevant[1] == [0, 1]
    assert split.query_types == ("vt", "vt")
    assert store.manifest.recipe == RECIPE
    assert store.manifest.seconds_per_row == 0.5


def test_the_fingerprint_is_that_of_version_1_until_something_is_known(tmp_path: Path) -> None:
    old = FeatureStore.open(VERSION_1).manifest.fingerprint
    assert write(tmp_path / "a").manifest.fingerprint == old
    others = [
        write(tmp_path / "b", duration_s=5.5),
        write(tmp_path / "c", replace(KNOWN, relevant=())),
        write(tmp_path / "d", replace(KNOWN, moments=())),
        write(tmp_path / "e", replace(KNOWN, query_type="")),
        write(tmp_path / "f", CaptionAnnotation(query_type="vt")),
    ]
    assert len({store.manifest.fingerprint for store in others} | {old}) == 6


@pytest.mark.parametrize("moment", [(-1, 2), (2, 2), (3, 2), (0, math.inf), (math.nan, 1)])
def test_a_moment_that_cannot_be_is_refused(tmp_path: Path, moment: tuple[float, float]) -> None:
    with pytest.raises(DataError, match=r"caption 'v0#0' has a moment from .* s to .* s"):
        write(tmp_path / "s", CaptionAnnotation(moments=[moment]))
    assert not list(tmp_path.iterdir())


def test_a_relevant_video_of_no_such_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="caption 'v0#0': split train has no video 'v9'"):
        write(tmp_path / "s", CaptionAnnotation(relevant=["v9"]))


@pytest.mark.parametrize("duration_s", [0, -1, math.inf])
def test_a_duration_that_cannot_be_is_refused(tmp_path: Path, duration_s: float) -> None:
    with pytest.raises(DataError, match="video 'v0' of split train lasts"):
        write(tmp_path / "s", duration_s=duration_s)


def test_recipes_name_what_differs() -> None:
    weights = {"encoder": "large", "weights_sha256": "2" * 64}
    other = RECIPE.model_copy(update={**weights, "max_tokens": 64})
    assert RECIPE.differences(other) == [
        "encoder: tiny and large",
        f"weights_sha256: {'0' * 64} and {'2' * 64}",
        "max_tokens: 77 and 64",
    ]
    assert RECIPE.differences(RECIPE) == []


def test_a_folder_of_another_name_with_the_same_weights_is_the_same_encoder() -> None:
    assert RECIPE.differences(RECIPE.model_copy(update={"encoder": "a copy"})) == []

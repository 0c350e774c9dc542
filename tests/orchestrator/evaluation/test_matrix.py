"""Models on stores: what fits, what is compared, and by which videos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.base.errors import EvaluationError, QueryError
from orchestrator.evaluation.matrix import Matrix, Target, evaluate
from orchestrator.evaluation.runs import evaluation_runs
from orchestrator.evaluation.subjects import SubjectOptions, find_subjects
from orchestrator.tracking.store import TrackingStore
from prvr_model.errors import StoreError
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import export_model, load_best
from prvr_model.reporting import OWN, VERIFIED
from prvr_model.retrieval.evaluation import evaluate_saved
from prvr_model.retrieval.frozen import frozen_ranks
from prvr_model.settings import SpeedSettings
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.reader import FeatureStore
from prvr_model.store.recipe import FeatureRecipe, TrainedOn
from prvr_model.store.writer import StoreWriter
from prvr_model.training.checkpoint import save_best
from tests.prvr_model.network.test_released_weights import UNTOLD, released_name
from tests.prvr_model.tiny import tiny_settings

DIM = 6


def recipe(encoder: str) -> FeatureRecipe:
    digest = encoder.encode().hex().ljust(64, "0")[:64]
    return FeatureRecipe(
        encoder=encoder,
        architecture="CLIPModel",
        weights_sha256=digest,
        preprocessing_sha256=digest,
        frames_per_second=2.0,
        sentence_row="eos",
        max_tokens=8,
    )


def write(path: Path, made_by: FeatureRecipe | None = None, dim: int = DIM, seed: int = 0) -> Path:
    """Ten videos a split with two captions each, near one of its rows; the first fits two."""
    rng = np.random.default_rng(seed)
    sizes = {"video_dim": dim, "text_dim": dim}
    with StoreWriter(path, name=path.stem, source={}, recipe=made_by, **sizes) as writer:
        for split in ("train", "val", "test"):
            for number in range(10):
                rows = rng.standard_normal((20 + number, dim)).astype(np.float32)
                name = f"{split}{number}"
                writer.add_video(split, name, rows, 10.0 + number)
                for k in range(2):
                    near = rows[3 + k] + 0.8 * rng.standard_normal(dim)
                    tokens = np.stack([near, near]).astype(np.float32)
                    right = {name, f"{split}{max(0, number - 1)}"} if k == 0 else set()
                    known = CaptionAnnotation([(1.0, 2.0 + 3 * k)], sorted(right))
                    text = f"text {number}" + " more" * k
                    writer.add_caption(split, f"{name}#{k}", name, text, tokens, known)
    return path


def export(folder: Path, trained_on: TrainedOn | None = None, seed: int = 0) -> Path:
    """An exported model that was never trained, and says that it was trained on something."""
    torch.manual_seed(seed)
    settings = tiny_settings()
    trial = Folder.open(folder / "trial")
    save_best(trial, MscModel(settings.model, DIM, DIM), settings, 1, trained_on)
    export_model(trial, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    write(folder / "a.store", recipe("clip-a"))
    write(folder / "b.store", recipe("clip-b"), seed=1)
    write(folder / "wide.store", dim=DIM + 1)
    known = FeatureStore.open(folder / "a.store").manifest
    export(folder / "model", TrainedOn(data="a", fingerprint="0" * 64, recipe=known.recipe))
    own = TrainedOn(data="a", fingerprint=known.fingerprint)
    export(folder / "own", own, seed=1)
    return folder


def matrix(folder: Path, models: Sequence[str], on: Sequence[str], **how: object) -> Matrix:
    options = SubjectOptions(folder, TrackingStore.of_home(folder), None, {}, {})
    names = [model if model.startswith("frozen") else str(folder / model) for model in models]
    targets = [Target.parse(str(folder / text)) for text in on]
    return evaluate(find_subjects(names, options), targets, **how)  # type: ignore[arg-type]


def test_a_matrix_has_the_numbers_of_each_model_alone(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    found = matrix(folder, ["model", "own", "frozen"], ["a.store:val", "a.store"])
    assert sorted(folder.rglob("*")) == before
    assert [target.split for target in found.targets] == ["val", "test"]
    store = FeatureStore.open(folder / "a.store")
    [model, own, frozen] = found.on(found.targets[0])
    saved = load_best(Folder.open(folder / "model/trial"))
    alone = evaluate_saved(saved, store, "val", SpeedSettings())
    assert (model.scores.ranks == alone.ranks).all()
    assert model.scores.views[OWN].metrics["SumR"].value == pytest.approx(alone.metrics["SumR"])
    assert model.scores.others["clip/R5"] == alone.metrics["clip/R5"]
    assert model.scores.others["collapse/query_difference"] == pytest.approx(
        alone.metrics["collapse/query_difference"]
    )
    assert alone.moments is not None
    assert model.scores.moments is not None
    assert model.scores.moments.metrics == alone.moments.metrics()
    assert (frozen.scores.ranks == frozen_ranks(store.split("val"))).all()
    assert frozen.scores.moments is None
    # The others are compared with the first, in every notion of what is correct.
    assert model.differences == {}
    sums = [cell.scores.views[OWN].metrics["SumR"].value for cell in (own, model)]
    assert own.differences[OWN].value == pytest.approx(sums[0] - sums[1])
    assert own.differences.keys() == {OWN, VERIFIED}
    assert found.num_differences == 8
    assert any("own was selected on val" in note for note in found.notes)
    [other] = matrix(folder, ["frozen", "own"], ["a.store"], baseline=str(folder / "own")).cells[:1]
    assert other.differences.keys() == {OWN, VERIFIED}


def test_relevant_videos_are_those_of_the_labels(folder: Path) -> None:
    [cell] = matrix(folder, ["frozen"], ["a.store"]).cells
    own, verified = cell.scores.views[OWN].metrics, cell.scores.views[VERIFIED].metrics
    assert own.keys() == {"R1", "R5", "R10", "R100", "SumR"}
    assert verified.keys() == own.keys() | {"nDCG10", "mAP"}
    split = FeatureStore.open(folder / "a.store").split("test")
    pairs = zip(split.caption_video.tolist(), split.relevant, strict=True)
    correct = [sorted({own, *right}) for own, right in pairs]
    best = frozen_ranks(split, np.array([[rows[0], rows[-1]] for rows in correct]))
    assert verified["R1"].value == pytest.approx(100 * (best <= 1).mean())
    # Rank of the other one of two: by itself it has the better one before it too.
    first, last = (
        frozen_ranks(split, np.array([[rows[place]] for rows in correct])) for place in (0, -1)
    )
    precisions = [
        1 / low if len(rows) == 1 else (1 / low + 2 / high) / 2
        for rows, low, high in zip(
            correct, np.minimum(first, last), np.maximum(first, last), strict=True
        )
    ]
    assert verified["mAP"].value == pytest.approx(100 * np.mean(precisions))
    assert 0 < verified["nDCG10"].value < 100


def test_slices_are_parts_of_the_captions(folder: Path) -> None:
    found = matrix(folder, ["own", "frozen"], ["a.store"])
    own, frozen = found.cells
    for cell in (own, frozen):
        for kind in {score.slice.kind for score in cell.scores.slices}:
            parts = [each for each in cell.scores.slices if each.slice.kind == kind]
            counts = [each.slice.captions.sum() for each in parts]
            weighted = sum(
                count * each.sum_of_recalls.value for count, each in zip(counts, parts, strict=True)
            )
            whole = cell.scores.views[OWN].metrics["SumR"].value
            assert weighted / sum(counts) == pytest.approx(whole), kind
    assert len(frozen.slice_differences) == len(frozen.scores.slices)
    assert any((each.corrected_p or 0) > (each.p_value or 0) for each in frozen.slice_differences)


def test_features_of_another_recipe_must_be_meant(folder: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        matrix(folder, ["model"], ["a.store", "b.store"])
    message = str(caught.value)
    assert "clip-a (CLIPModel), 2 rows a second" in message
    assert "the store's: clip-b (CLIPModel)" in message
    assert "b.store" in message
    assert "--transfer says that this is meant" in message
    assert "a.store:" not in message
    assert len(matrix(folder, ["model"], ["a.store", "b.store"], transfer=True).cells) == 2
    # This one was trained on the store itself, whatever its recipe.
    assert matrix(folder, ["own"], ["a.store"]).notes == ()


def test_other_dimensions_are_refused_also_where_transfer_is_meant(folder: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        matrix(folder, ["model", "own"], ["wide.store"], transfer=True)
    message = str(caught.value)
    assert message.count("have 7 values") == 4
    assert "the model's features: clip-a (CLIPModel)" in message
    assert "the store's: not known" in message


def test_a_released_checkpoint_is_evaluated_as_the_model_it_is(
    folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weights = MscModel(tiny_settings().model, DIM, DIM).state_dict()
    state = {f"module.{released_name(name)}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "msc.ckpt")
    untold = {key: value for key, value in UNTOLD.items() if key != "model.mixing_temperature"}
    options = SubjectOptions(folder, TrackingStore.of_home(folder), None, untold, {})
    names = [str(tmp_path / "msc.ckpt"), str(folder / "model")]
    target = Target.parse(str(folder / "a.store"))
    released, model = find_subjects(names, options)
    assert "the model's features: not known" in "".join(
        released.misfits(target.store, transfer=False)
    )
    found = evaluate((released, model), [target], transfer=True)
    assert (found.cells[0].scores.ranks == found.cells[1].scores.ranks).all()
    assert released.identity == model.identity


def test_what_is_named_must_be_there(folder: Path) -> None:
    with pytest.raises(QueryError, match="--baseline: found 'x'; allowed: one of the models"):
        matrix(folder, ["own"], ["a.store"], baseline="x")
    with pytest.raises(QueryError, match="split 'tset'; allowed: train, val, test; did you mean"):
        Target.parse(f"{folder}/a.store:tset")
    with pytest.raises(StoreError, match="there is no feature store at"):
        Target.parse(f"{folder}/none.store:test")
    with pytest.raises(QueryError, match="'frozen:x'; allowed: frozen, frozen:maximum, "):
        matrix(folder, ["frozen:x"], ["a.store"])
    with pytest.raises(QueryError, match=r"allowed: frozen, .* a file \*.ckpt, models:/NAME"):
        matrix(folder, ["nothing"], ["a.store"])
    options = SubjectOptions(folder, TrackingStore.of_home(folder), "tvr", {}, {})
    with pytest.raises(QueryError, match="settings of a released checkpoint"):
        find_subjects(["frozen"], options)


def test_each_cell_becomes_a_run(folder: Path) -> None:
    found = matrix(folder, ["own", "frozen"], ["a.store"])
    own, frozen = evaluation_runs(found)
    assert own.name == f"{folder}/own on {folder}/a.store:test"
    assert own.metrics["own/SumR"] == found.cells[0].scores.views[OWN].metrics["SumR"].value
    assert own.metrics["verified/mAP_low"] < own.metrics["verified/mAP"]
    assert own.metrics.keys() >= {"clip/R1", "collapse/query_difference", "moments/window/mIoU"}
    assert own.tags["model_identity"] == found.subjects[0].identity
    assert own.data.fingerprint == found.targets[0].store.manifest.fingerprint
    assert frozen.metrics["own/SumR_difference"] == found.cells[1].differences[OWN].value
    assert frozen.tags["verdict.own"] in ("real", "worse", "not shown")

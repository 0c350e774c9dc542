"""Who becomes champion, what a version carries, and that it answers without a network."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from requests import HTTPError

from orchestrator.base.errors import RegistryError, TrackingOutageError
from orchestrator.tracking.events import registered_event
from orchestrator.tracking.model_version import RegisteredVersion, SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import (
    lost_models,
    promote,
    reachable,
    register_champion,
)
from orchestrator.tracking.store import TrackingStore, load_mlflow
from orchestrator.tracking.writer import connect
from prvr_model.errors import StoreError
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import export_model
from prvr_model.retrieval.caption_embedder import CaptionEmbedder
from prvr_model.settings import build_settings
from prvr_model.training.checkpoint import save_best
from tests.cases import rest_in_soak
from tests.orchestrator.tracking.fake_sweep import sweep_events
from tests.orchestrator.tracking.reading import content_of, replay, send

MODEL = "prvr-builtin"
TEXT_DIM, HIDDEN = 6, 8


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"model.hidden_size": HIDDEN, "model.num_scales": 1, "model.max_caption_tokens": 5}
    settings = build_settings("tvr", sizes)
    folder = tmp_path_factory.mktemp("trial")
    model = MscModel(settings.model, video_dim=4, text_dim=TEXT_DIM)
    save_best(Folder.open(folder), model, settings, epoch=3)
    export_model(Folder.open(folder), folder / "export")
    return folder / "export"


@pytest.fixture
def origin(home: Path, store: TrackingStore) -> SweepOrigin:
    outbox = Outbox(home / "outbox" / "cbva.jsonl")
    for event in sweep_events(num_trials=5, epochs=3):
        outbox.append(event)
    send(outbox, store)
    return SweepOrigin("cbva", outbox.identity, "builtin", "0f0f", "val/SumR", "maximize",
                       "validation")  # fmt: skip


def candidate(
    export: Path, number: int, value: float, test: Mapping[str, float] | None = None
) -> VersionCandidate:
    return VersionCandidate(number, f"key{number}", value, 3, export, test)


def aliases(store: TrackingStore) -> dict[str, str]:
    found = connect(store).get_registered_model(MODEL).aliases
    # Numbers from a database, text from a server.
    return {alias: str(version) for alias, version in found.items()}


def register(
    store: TrackingStore, origin: SweepOrigin, *candidates: VersionCandidate
) -> tuple[RegisteredVersion, ...]:
    return register_champion(store, origin, candidates)


def test_a_better_value_takes_the_alias_and_a_worse_one_waits(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    [first] = register(store, origin, candidate(export, 0, 100.0))
    assert (first.version, first.alias) == ("1", "champion")
    [worse] = register(store, origin, candidate(export, 1, 90.0))
    assert (worse.version, worse.alias) == ("2", "candidate")
    assert "90.00 is not better than 100.00 of version 1" in worse.reason
    [equal] = register(store, origin, candidate(export, 2, 100.0))
    assert equal.alias == "candidate"
    [better] = register(store, origin, candidate(export, 3, 100.5))
    assert (better.version, better.alias) == ("4", "champion")
    assert aliases(store) == {"champion": "4", "candidate": "3"}


def test_a_version_is_linked_once_with_the_runs_of_its_trial_and_its_sweep(
    home: Path, store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    scored = replace(
        candidate(export, 0, 99.0, {"SumR": 150.25}), moments={"window/R1_iou_0.5": 12.5}
    )
    versions = register(store, origin, scored, candidate(export, 1, 90.0))
    outbox = Outbox(home / "outbox" / "cbva.jsonl")
    outbox.append(registered_event([version.to_record() for version in versions], 1))
    send(outbox, store)
    # As a resume does, which registers again.
    outbox.append(registered_event([version.to_record() for version in versions], 2))
    replay(outbox, store)
    content = content_of(store, outbox)
    run = connect(store).get_model_version(MODEL, "1").run_id
    for name, value in (("test/SumR", 150.25), ("test/moments/window/R1_iou_0.5", 12.5)):
        (row,) = connect(store).get_metric_history(run, name)
        assert (row.value, row.step) == (value, 3)
    models = [(version.model_id, 3) for version in versions]
    assert content["sweep"]["models"] == sorted(models)
    assert [content[trial]["models"] for trial in "012"] == [[models[0]], [models[1]], []]
    assert content["sweep"]["tags"]["prvr.registered"] == f"{MODEL}/1, {MODEL}/2"
    assert content["0"]["tags"]["prvr.registered"] == f"{MODEL}/1"
    for number, version in enumerate(versions, 1):
        tags = connect(store).get_logged_model(version.model_id).tags
        assert json.loads(tags["mlflow.modelVersions"]) == [{"name": MODEL, "version": f"{number}"}]
    again = register(store, origin, candidate(export, 0, 99.0))
    assert again[0].model_id == versions[0].model_id


def test_the_best_of_several_comes_first_and_the_second_is_candidate(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    found = register(
        store, origin, *(candidate(export, k, value) for k, value in enumerate((99.0, 90.0, 80.0)))
    )
    assert [(version.trial, version.alias) for version in found] == [
        (0, "champion"), (1, "candidate"), (2, None),
    ]  # fmt: skip


def test_the_crown_of_a_sweep_is_not_undone_by_a_lucky_seed_of_another(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    crowned, lucky = candidate(export, 0, 102.0), candidate(export, 1, 110.0)
    first, second = register(store, origin, crowned, lucky)
    assert (first.trial, first.alias) == (0, "champion")
    assert (second.alias, second.reason) == (
        "candidate",
        "version 1 of its sweep ranks above it",
    )
    # Nor when the sweep is registered again, e.g. by a resume.
    first, second = register(store, origin, crowned, lucky)
    assert (first.alias, second.alias) == ("champion", "candidate")
    assert aliases(store) == {"champion": "1", "candidate": "2"}


def test_where_less_is_better_less_wins(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    smaller = replace(origin, direction="minimize")
    register(store, smaller, candidate(export, 0, 5.0))
    [version] = register(store, smaller, candidate(export, 1, 4.0))
    assert version.alias == "champion"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"data_fingerprint": "other"}, "data"),
        ({"protocol": "paper"}, "protocol"),
        ({"metric": "val/R1"}, "metric"),
    ],
)
def test_what_cannot_be_compared_waits_however_high_its_value(
    store: TrackingStore, origin: SweepOrigin, export: Path, change: dict[str, str], word: str
) -> None:
    register(store, origin, candidate(export, 0, 10.0))
    other = replace(origin, **change)  # type: ignore[arg-type]
    [version] = register(store, other, candidate(export, 1, 999.0))
    assert version.alias == "candidate"
    assert f"another {word}" in version.reason
    assert f"prvr-sweep promote {MODEL} 2" in version.reason
    assert aliases(store)["champion"] == "1"


def test_registering_twice_gives_the_same_version_and_undoes_no_promotion(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    pair = [candidate(export, 0, 100.0), candidate(export, 1, 90.0)]
    register(store, origin, *pair)
    promotion = promote(store, MODEL, "2")
    assert (promotion.version, promotion.replaced) == ("2", "1")
    assert promotion.replaced_description is not None
    assert "val/SumR 100.00" in promotion.replaced_description
    again = register(store, origin, *pair)
    assert [(version.version, version.alias) for version in again] == [
        ("1", None),
        ("2", "champion"),
    ]
    assert aliases(store) == {"champion": "2"}
    assert len(connect(store).search_model_versions(f"name = '{MODEL}'")) == 2


def served(store: TrackingStore) -> list[tuple[str, tuple[int, ...]]]:
    """Versions that answer, and the shape of what they answer."""
    tokens = np.ones((1, 2, TEXT_DIM), np.float32)
    found = connect(store).search_model_versions(f"name = '{MODEL}'")
    return [
        (str(version.version), mlflow.pyfunc.load_model(version.source).predict(tokens).shape)
        for version in sorted(found, key=lambda version: int(version.version))
        if Path(version.source.removeprefix("file://")).exists()
    ]


def delete_version(store: TrackingStore, model_id: str) -> None:
    connect(store).delete_model_version(MODEL, "1")


def delete_name(store: TrackingStore, model_id: str) -> None:
    connect(store).delete_registered_model(MODEL)


def delete_model(store: TrackingStore, model_id: str) -> None:
    connect(store).delete_logged_model(model_id)


def delete_files(store: TrackingStore, model_id: str) -> None:
    location = connect(store).get_logged_model(model_id).artifact_location
    shutil.rmtree(location.removeprefix("file://"))


@pytest.mark.parametrize(
    ("harm", "version", "said"),
    rest_in_soak(
        [
            (delete_version, "2", "there was no champion"),
            (delete_name, "1", "there was no champion"),
            (delete_model, "2", "registered before as version 1, whose model is gone"),
            (delete_files, "1", "as version 1, whose files were gone and are there again"),
        ]
    ),
)
def test_a_model_that_is_gone_is_registered_again_with_its_alias(
    store: TrackingStore,
    origin: SweepOrigin,
    export: Path,
    harm: Callable[[TrackingStore, str], None],
    version: str,
    said: str,
) -> None:
    [before] = register(store, origin, candidate(export, 0, 100.0))
    assert lost_models(store, origin, {0: "key0"}) == []
    harm(store, before.model_id)
    assert lost_models(store, origin, {0: "key0"}) == [0]
    [after] = register(store, origin, candidate(export, 0, 100.0))
    assert (after.version, after.alias) == (version, "champion")
    assert said in after.reason
    assert aliases(store) == {"champion": version}
    assert (version, (1, HIDDEN)) in served(store)
    assert lost_models(store, origin, {0: "key0"}) == []
    assert register(store, origin, candidate(export, 0, 100.0))[0].version == version


def test_a_model_that_takes_the_place_of_another_takes_its_promotion_too(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    pair = [candidate(export, 0, 100.0), candidate(export, 1, 90.0)]
    _, second = register(store, origin, *pair)
    promote(store, MODEL, "2")
    connect(store).delete_logged_model(second.model_id)
    first, again = register(store, origin, *pair)
    assert (first.alias, again.version, again.alias) == (None, "3", "champion")
    assert "registered before as version 2, whose model is gone" in again.reason


def test_files_of_a_home_that_was_moved_are_not_written_to_its_old_place(
    home: Path, store: TrackingStore, origin: SweepOrigin, export: Path, tmp_path: Path
) -> None:
    register(store, origin, candidate(export, 0, 100.0))
    moved = TrackingStore.of_home(home.rename(tmp_path / "moved"))
    assert register(moved, origin, candidate(export, 0, 100.0))[0].version == "1"
    assert not home.exists()


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "call",
    rest_in_soak(
        [
            "create_model_version",
            "create_registered_model",
            "create_logged_model",
            "log_model_artifacts",
            "finalize_logged_model",
            "set_registered_model_alias",
            "set_model_version_tag",
        ]
    ),
)
def test_a_registration_that_is_killed_is_finished_by_the_next(
    store: TrackingStore,
    origin: SweepOrigin,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    is_done: bool,
) -> None:
    real = getattr(MlflowClient, call)

    def killed(self: MlflowClient, *arguments: object, **options: object) -> None:
        if is_done:
            real(self, *arguments, **options)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, killed)
        with pytest.raises(KilledError):
            register(store, origin, candidate(export, 0, 100.0))
    [version] = register(store, origin, candidate(export, 0, 100.0))
    assert (version.version, version.alias) == ("1", "champion")
    client = connect(store)
    [there] = client.search_model_versions(f"name = '{MODEL}'")
    assert (there.tags["prvr.decided"], aliases(store)) == ("champion", {"champion": "1"})
    model = mlflow.pyfunc.load_model(there.source)
    assert model.predict(np.ones((1, 2, TEXT_DIM), np.float32)).shape == (1, HIDDEN)


def test_a_version_says_where_it_comes_from(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    test = {"R1": 4.0, "SumR": 150.25, "clip/R1": 3.0}
    first = replace(candidate(export, 0, 100.0, test), card="## Data\n\nA set.")
    register(store, origin, first, candidate(export, 1, 90.0))
    client = connect(store)
    version = client.get_model_version(MODEL, "1")
    assert version.tags == version.tags | {
        "prvr.sweep": "cbva",
        "prvr.trial": "0",
        "prvr.trial_key": "key0",
        "prvr.value": "100.0",
        "prvr.metric": "val/SumR",
        "prvr.direction": "maximize",
        "prvr.protocol": "validation",
        "prvr.data_fingerprint": "0f0f",
        "prvr.test": '{"R1": 4.0, "SumR": 150.25}',
    }
    assert version.description.endswith("on test R1 4.00, SumR 150.25.\n\n## Data\n\nA set.")
    assert promote(store, MODEL, "1").description.endswith("on test R1 4.00, SumR 150.25.")
    assert client.get_run(version.run_id).data.tags["prvr.trial"] == "0"
    other = client.get_model_version(MODEL, "2")
    assert other.tags["prvr.test"] == "none"
    assert "no test split" in other.description


def test_the_champion_answers(
    store: TrackingStore, origin: SweepOrigin, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, origin, candidate(export, 0, 100.0))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    try:
        loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(before)
    tokens = np.random.default_rng(1).normal(size=(3, 7, TEXT_DIM)).astype(np.float32)
    tokens[1, 2:] = 0
    vectors = loaded.predict(tokens)
    np.testing.assert_allclose(vectors, CaptionEmbedder.load(export).embed(tokens), rtol=1e-5)
    assert loaded.predict(loaded.input_example).shape == (1, HIDDEN)
    files = Path(loaded._model_impl.context.artifacts["model"])
    assert sorted(file.name for file in files.iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict(tokens[:, :, :-1])


def test_promote_lists_what_there_is(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    register(store, origin, candidate(export, 0, 100.0))
    with pytest.raises(RegistryError, match=f"no model 'prvr-x'.*models there: {MODEL}"):
        promote(store, "prvr-x", "1")
    with pytest.raises(RegistryError, match=r"no version '7'; versions: 1"):
        promote(store, MODEL, "7")


def test_a_trial_without_a_run_is_not_registered(
    store: TrackingStore, origin: SweepOrigin, export: Path
) -> None:
    with pytest.raises(RegistryError, match="trial 99 of sweep 'cbva' is not in MLflow yet"):
        register(store, origin, candidate(export, 99, 1.0))


def test_a_registry_that_is_away_is_told(export: Path, origin: SweepOrigin) -> None:
    nobody = TrackingStore("http://127.0.0.1:9", None)
    with pytest.raises(TrackingOutageError, match=r"MLflow at http://127\.0\.0\.1:9"):
        register(nobody, origin, candidate(export, 0, 1.0))


def test_whatever_mlflow_raises_is_told(store: TrackingStore) -> None:
    found = r"MLflow at sqlite.*: JSONDecodeError: Expecting value"
    with pytest.raises(TrackingOutageError, match=found), reachable(store):
        json.loads("<html>the page of a proxy</html>")
    with pytest.raises(RegistryError), reachable(store):
        raise RegistryError("ours")


def test_an_mlflow_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingOutageError, match="MLflow cannot be loaded: ModuleNotFoundError"):
        load_mlflow()


def test_a_server_that_fails_in_the_middle_of_an_upload_is_told(
    store: TrackingStore, origin: SweepOrigin, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise HTTPError("500 Server Error: Internal Server Error for url: http://127.0.0.1:9/x")

    with monkeypatch.context() as failing:
        failing.setattr(mlflow.MlflowClient, "log_model_artifacts", fail)
        with pytest.raises(TrackingOutageError, match=f"{store.uri}: 500 Server Error"):
            register(store, origin, candidate(export, 0, 100.0))
    (found,) = register(store, origin, candidate(export, 0, 100.0))
    assert (found.version, found.alias) == ("1", "champion")


def test_embedding_ignores_padding_and_scale(export: Path) -> None:
    embedder = CaptionEmbedder.load(export)
    tokens = np.random.default_rng(2).normal(size=(2, 4, TEXT_DIM)).astype(np.float32)
    padded = np.concatenate([tokens, np.zeros((2, 3, TEXT_DIM), np.float32)], axis=1)
    vectors = embedder.embed(tokens)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(embedder.embed(padded), vectors, atol=1e-6)
    assert embedder.embed(tokens[:0]).shape == (0, HIDDEN)


def test_embedding_refuses_empty_captions_and_other_dimensions(export: Path) -> None:
    embedder = CaptionEmbedder.load(export)
    tokens = np.ones((2, 3, TEXT_DIM), np.float32)
    tokens[1] = 0
    with pytest.raises(StoreError, match=r"without any token.*\[1\]"):
        embedder.embed(tokens)
    with pytest.raises(StoreError, match=r"wanted \(captions, length, 6\)"):
        embedder.embed(tokens[:, :, :2])

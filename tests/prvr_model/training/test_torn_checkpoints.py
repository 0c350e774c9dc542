"""Any beginning of a checkpoint, an exported model or a spec is refused by its name."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import SpecError
from orchestrator.spec.loading import load_spec
from prvr_model.errors import CheckpointError
from prvr_model.files.checkpoint_header import EPOCHS_FILE
from prvr_model.files.folder import Folder
from prvr_model.network.model_file import export_model, load_best, load_exported
from prvr_model.reporting import Decision
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.checkpoint import LAST, free_last, read_state
from prvr_model.training.train_loop import train
from tests.orchestrator.command_line import TINY_SPACE
from tests.prvr_model.tiny import TINY_DATA, tiny_settings

torn = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder of one epoch, its model exported."""
    place = tmp_path_factory.mktemp("torn")
    write_synthetic(place / "store", TINY_DATA)
    folder = Folder.open(place / "trial")
    one = tiny_settings(training__epochs=1)
    train(one, FeatureStore.open(place / "store"), folder, lambda _: Decision.CONTINUE)
    export_model(folder, place / "trial" / "export")
    return folder


@torn
@given(share=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["last", "best", "export"]))
def test_a_checkpoint(trial: Folder, share: float, name: str) -> None:
    file = Path(trial.path) / (
        "export/model.safetensors" if name == "export" else f"{name}.safetensors"
    )
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[: int(len(whole) * share)])
        read = {
            "last": lambda: read_state(trial),
            "best": lambda: load_best(trial),
            "export": lambda: load_exported(file.parent),
        }[name]
        with pytest.raises(CheckpointError, match=file.name):
            read()
    finally:
        file.write_bytes(whole)


@torn
@given(share=st.floats(0, 1, exclude_max=True))
def test_the_rows_of_a_freed_checkpoint(trial: Folder, share: float) -> None:
    last = trial.read_bytes(LAST)
    try:
        free_last(trial)
        whole = trial.read_bytes(EPOCHS_FILE)
        trial.write_bytes(EPOCHS_FILE, whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=f"{EPOCHS_FILE}: is damaged"):
            read_state(trial)
    finally:
        trial.write_bytes(LAST, last)


@torn
@given(size=st.integers(0, len(TINY_SPACE) - 1))
def test_a_spec(tmp_path: Path, size: int) -> None:
    file = tmp_path / "torn.yaml"
    file.write_text(TINY_SPACE[:size])
    refusal = _refusal(file)
    # Cut after a whole value, where what follows has defaults, it is a spec like any other.
    assume(refusal is not None)
    assert "torn.yaml" in str(refusal)


def _refusal(file: Path) -> SpecError | None:
    try:
        load_spec(file)
    except SpecError as error:
        return error
    return None

"""What has been trained is taken over: from this sweep, its home or its storage; never damaged."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save

from orchestrator.commands.status_text import render_status
from orchestrator.study.reader import StudyReader
from orchestrator.study.storage import complete_trials
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.budget import spent
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.status import read_status
from orchestrator.tracking.missing_events import Told
from prvr_model.files.checkpoint_header import BEST, EPOCHS_FILE, HEADER, LAST
from tests.cases import rest_in_soak
from tests.orchestrator.executors.whole_trials import trained, trained_epochs
from tests.orchestrator.helpers import FINGERPRINT, ListSink, run_sweep, small_spec

GRID = (
    "search={sampler: grid, seed: 3, parameters: {losses.tau: {type: float, low: 0.5, high: 0.9, "
    "step: 0.2}}}"
)
FEW_POINTS = (
    "search={sampler: tpe, seed: 3, trials: 12, parameters: {losses.tau: {type: float, low: 0.5, "
    "high: 0.9, step: 0.2}}}"
)

SHORT = (FEW_POINTS, "search.trials=5")


def run(
    home: Path,
    *overrides: str,
    fingerprint: str = FINGERPRINT,
    **options: Any,  # noqa: ANN401
) -> SweepResult:
    options = {
        "executor": "inline",
        "function": "tests.orchestrator.executors.whole_trials:training",
        **options,
    }
    return run_sweep(small_spec(*overrides), Path("/store"), fingerprint, home, **options)


def study_of(home: Path, sweep: str) -> StudyReader:
    return StudyReader.open(study_url(home), sweep)


def test_a_sweep_of_the_home_is_taken_over_with_all_it_left(tmp_path: Path) -> None:
    run(tmp_path, GRID)
    sink = ListSink()
    run(tmp_path, GRID, "name=again", sink=sink)
    assert trained(tmp_path) == ["small/0", "small/1", "small/2"]
    first, second = study_of(tmp_path, "small"), study_of(tmp_path, "again")
    for old, new in zip(first.summaries(), second.summaries(), strict=True):
        assert new.state is TrialState.COMPLETE
        assert (new.value, new.best_epoch, new.epochs) == (old.value, old.best_epoch, old.epochs)
        assert (new.key, new.seed, new.taken_from) == (old.key, old.seed, f"small/{old.number}")
        assert first.rows(old.number) == second.rows(new.number)
        assert new.folder != old.folder
        names = {str(path.relative_to(old.folder)) for path in Path(old.folder).rglob("*.safe*")}
        assert names == {
            str(path.relative_to(new.folder)) for path in Path(new.folder).rglob("*.s*")
        }
        assert (Path(new.folder) / LAST).samefile(Path(old.folder) / LAST)
    assert sink.kinds(1) == ["trial_started", "epoch", "epoch", "epoch", "trial_ended"]
    started = next(event for event in sink.events if event["kind"] == "trial_started")
    assert started["taken_from"] == "small/0"
    epoch = next(event for event in sink.events if event["kind"] == "epoch")
    assert epoch["metrics"].keys() == {"val/SumR", "loss"}
    assert "3 not trained; their results are copied from small" in (
        render_status(read_status(tmp_path, "again"))
    )


def test_what_was_taken_over_outlives_the_original(tmp_path: Path) -> None:
    run(tmp_path, GRID)
    run(tmp_path, GRID, "name=again")
    shutil.rmtree(tmp_path / "small")
    assert (tmp_path / "again/trials/00001" / LAST).stat().st_size > 0
    run(tmp_path, GRID, "name=third")
    assert trained(tmp_path) == ["small/0", "small/1", "small/2"]
    origins = [trial.taken_from for trial in study_of(tmp_path, "third").summaries()]
    assert origins == ["small/0", "small/1", "small/2"]


def test_another_home_finds_them_on_the_storage_also_where_it_was_moved(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    run(tmp_path / "a", GRID, storage=str(storage))
    storage = storage.rename(tmp_path / "moved")
    run(tmp_path / "b", GRID, "name=again", storage=str(storage))
    assert trained(storage) == ["small/0", "small/1", "small/2"]


def test_a_home_without_index_and_with_another_storage_is_enough(tmp_path: Path) -> None:
    run(tmp_path, GRID)
    shutil.rmtree(tmp_path / "keys")
    run(tmp_path, GRID, "name=again", storage=str(tmp_path / "other"))
    assert trained(tmp_path / "other") == []


@pytest.mark.parametrize(
    ("overrides", "fingerprint"),
    rest_in_soak(
        [
            (["reuse=false"], FINGERPRINT),
            (["settings.training.seed=2"], FINGERPRINT),
            (["early_stopping.max_epochs=2"], FINGERPRINT),
            ([], "fedcba9876543210"),
        ],
        quick=2,
    ),
)
def test_what_differs_is_trained(tmp_path: Path, overrides: list[str], fingerprint: str) -> None:
    run(tmp_path, GRID)
    run(tmp_path, GRID, "name=again", *overrides, fingerprint=fingerprint)
    assert len(trained(tmp_path)) == 6


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", [LAST, BEST])
@pytest.mark.parametrize("harm", [cut, Path.unlink])
def test_a_folder_that_is_not_whole_is_not_taken(tmp_path: Path, name: str, harm: Any) -> None:  # noqa: ANN401
    run(tmp_path, GRID)
    harm(tmp_path / "small/trials/00001" / name)
    run(tmp_path, GRID, "name=again")
    assert trained(tmp_path)[3:] == ["again/1"]


def test_a_folder_of_another_trial_is_not_taken(tmp_path: Path) -> None:
    run(tmp_path, GRID)
    trials = tmp_path / "small/trials"
    shutil.rmtree(trials / "00001")
    (trials / "00000").rename(trials / "00001")
    run(tmp_path, GRID, "name=again")
    assert trained(tmp_path)[3:] == ["again/0", "again/1"]


def test_a_freed_checkpoint_is_enough_where_the_model_is_there(tmp_path: Path) -> None:
    run(tmp_path, GRID)
    folder = tmp_path / "small/trials/00001"
    rows = [{"epoch": e, "metrics": {"val/SumR": 1.0}, "timestamp_ms": e} for e in (1, 2, 3)]
    (folder / EPOCHS_FILE).write_text(json.dumps({"state": {"reports": rows}}))
    (folder / LAST).unlink()
    run(tmp_path, GRID, "name=again")
    assert len(trained(tmp_path)) == 3


def test_failed_trials_are_not_taken(tmp_path: Path) -> None:
    failing = "tests.orchestrator.executors.fake_trials:failing_third"
    run(tmp_path, function=failing)
    run(tmp_path, "name=again")
    assert trained(tmp_path) == [f"again/{number}" for number in range(6)]


SIX_POINTS = (
    "search={sampler: random, seed: 7, trials: 14, parameters: {optimizer.learning_rate: "
    "{type: categorical, choices: [1e-3, 1e-6, 1e-2]}, losses.tau: {type: categorical, "
    "choices: [0.5, 0.8]}}}",
    "early_stopping={method: asha, first_rung: 1, reduction: 3, max_epochs: 9}",
)


def epochs_by_key(home: Path, *sweeps: str) -> list[tuple[str, str]]:
    """Content key and epoch of all that was trained, in order."""
    keys = {
        f"{sweep}/{trial.number}": trial.key
        for sweep in sweeps
        for trial in study_of(home, sweep).summaries()
    }
    parts = [line.rpartition("/") for line in trained_epochs(home)]
    return [(keys[trial], epoch) for trial, _, epoch in parts]


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ListSink]:
    """Home and events of a sweep with pruned points that repeat."""
    home, sink = tmp_path_factory.mktemp("repeated"), ListSink()
    run(home, *SIX_POINTS, sink=sink)
    return home, sink


def test_a_pruned_point_is_answered_from_what_was_recorded_and_continued_from_there(
    repeated: tuple[Path, ListSink],
) -> None:
    home, sink = repeated
    study = study_of(home, "small")
    pruned = [trial for trial in study.summaries() if trial.state is TrialState.PRUNED]
    taken = [trial for trial in pruned if trial.is_taken]
    assert taken
    for trial in taken:
        original = study.summary(int(str(trial.taken_from).rpartition("/")[2]))
        assert (original.state, original.key) == (TrialState.PRUNED, trial.key)
        assert [row.objective for row in study.rows(trial.number)] == [
            row.objective for row in study.rows(original.number)[: trial.epochs]
        ]
        kinds = ["trial_started", *["epoch"] * trial.epochs, "trial_ended"]
        assert sink.kinds(trial.number) == kinds
    assert not {f"small/{trial.number}" for trial in taken} & set(trained(home))
    continued = [trial for trial in study.summaries() if trial.taken_epochs and not trial.is_taken]
    assert {trial.epochs > (trial.taken_epochs or 0) for trial in continued} == {True}
    done = epochs_by_key(home, "small")
    assert len(done) == len(set(done))


def test_pruned_points_of_another_sweep_of_the_home_are_taken_too(tmp_path: Path) -> None:
    run(tmp_path, *SIX_POINTS)
    run(tmp_path, *SIX_POINTS, "name=again", "search.seed=8")
    done = epochs_by_key(tmp_path, "small", "again")
    assert len(done) == len(set(done))
    assert any(trial.is_taken for trial in study_of(tmp_path, "again").summaries())


def test_trials_that_were_not_trained_cost_nothing(repeated: tuple[Path, ListSink]) -> None:
    home, _ = repeated
    study = study_of(home, "small")
    trials = study.summaries()
    numbers = {int(name.rpartition("/")[2]) for name in trained(home)}
    assert {trial.number for trial in trials if not trial.is_taken} == numbers
    assert spent(small_spec(*SIX_POINTS), study).trials == len(numbers)
    said = render_status(read_status(home, "small"))
    assert f"{len(trials) - len(numbers)} not trained; their results are copied from small" in said


def test_a_pruned_point_without_its_checkpoint_is_trained_anew(tmp_path: Path) -> None:
    run(tmp_path, *SIX_POINTS)
    begun = len(trained_epochs(tmp_path))
    for trial in study_of(tmp_path, "small").summaries():
        if trial.state is TrialState.PRUNED:
            shutil.rmtree(trial.folder)
    run(tmp_path, *SIX_POINTS, "name=again")
    assert len(trained_epochs(tmp_path)) > begun


def test_torn_and_foreign_index_entries_are_passed_over_and_made_again(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    run(tmp_path / "a", GRID, storage=str(storage))
    torn, foreign, empty = sorted((storage / "keys").iterdir())
    cut(torn)
    foreign.write_text('{"key": "x", "sweep": 3, "number": 0, "folder": ""}')
    empty.write_text("[]")
    run(tmp_path / "b", GRID, "name=again", storage=str(storage))
    assert len(trained(storage)) == 6
    run(tmp_path / "c", GRID, "name=third", storage=str(storage))
    assert len(trained(storage)) == 6


def test_a_storage_whose_path_has_a_question_mark(tmp_path: Path) -> None:
    """It begins no options there, and the index of a storage that is moved is still right."""
    storage = tmp_path / "what? now"
    run(tmp_path / "a", GRID, storage=str(storage))
    entries = [json.loads(path.read_text()) for path in (storage / "keys").iterdir()]
    assert {entry["folder"] for entry in entries} == {f"small/trials/0000{n}" for n in range(3)}
    moved = storage.rename(tmp_path / "so? what")
    run(tmp_path / "b", GRID, "name=again", storage=str(moved))
    assert len(trained(moved)) == 3


def test_a_sampler_that_repeats_itself_pays_once_a_point_and_ends(tmp_path: Path) -> None:
    result = run(tmp_path, FEW_POINTS)
    # Of twelve trials six were drawn until all three points were known.
    assert result.counts[TrialState.COMPLETE] == 6
    assert len(trained(tmp_path)) == 3
    study = study_of(tmp_path, "small")
    taken = [trial for trial in study.summaries() if trial.taken_from]
    assert len(taken) == 3
    by_number = {trial.number: trial for trial in study.summaries()}
    for trial in taken:
        original = by_number[int(str(trial.taken_from).rpartition("/")[2])]
        assert original.taken_from is None
        assert (trial.parameters, trial.value) == (original.parameters, original.value)


def test_a_sweep_of_duplicates_alone_ends(tmp_path: Path) -> None:
    run(tmp_path, FEW_POINTS)
    result = run(tmp_path, FEW_POINTS, "name=again", "search.seed=8")
    assert result.counts[TrialState.COMPLETE] == 5
    assert len(trained(tmp_path)) == 3


class KilledError(BaseException):
    """The driver dies here."""


def dying_at(original: Callable[..., Any], at: int, after: bool) -> Callable[..., Any]:
    """A method that dies at its call number `at`, before or after the write, and ever after."""
    calls = 0

    def dying(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if calls < at:
            return original(*given, **named)
        if calls == at and after:
            original(*given, **named)
        raise KilledError

    return dying


def told_study(home: Path) -> list[Any]:
    study = study_of(home, "small")
    rows = [study.rows(trial.number) for trial in study.summaries()]
    named = [(s.state, s.value, s.key, s.taken_from, s.parameters) for s in study.summaries()]
    return [rows, named]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What a sweep that nothing kills leaves in its study."""
    home = tmp_path_factory.mktemp("lived")
    run(home, *SHORT)
    return told_study(home)


@pytest.mark.parametrize("method", ["describe", "set_taken_from", "record_epoch", "tell_complete"])
# Of five trials, three are trained: these are writes of the trained and of the others.
@pytest.mark.parametrize(
    ("at", "after"),
    [
        (2, False),
        *(
            pytest.param(at, after, marks=pytest.mark.soak)
            for at, after in (
                (11, True),
                (2, True),
                (4, False),
                (4, True),
                (5, False),
                (5, True),
                (11, False),
            )
        ),
    ],
)
def test_death_around_any_write_changes_nothing(
    lived: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    at: int,
    after: bool,
) -> None:
    sink = ListSink()
    with monkeypatch.context() as patch, suppress(KilledError):
        patch.setattr(SweepStudy, method, dying_at(getattr(SweepStudy, method), at, after))
        run(tmp_path, *SHORT, sink=sink)
    run(tmp_path, *SHORT, sink=ListSink(), told=Told.of(sink.events))
    assert told_study(tmp_path) == lived


@pytest.mark.parametrize(
    ("method", "at", "after"),
    [
        ("record_epoch", 25, True),
        *(
            pytest.param(method, at, after, marks=pytest.mark.soak)
            for method in ("set_taken_from", "record_epoch", "tell_pruned", "tell_complete")
            for at, after in ((2, True), (5, False), (20, True), (28, False))
        ),
    ],
)
def test_death_around_a_write_changes_nothing_where_pruned_points_repeat(
    repeated: tuple[Path, ListSink],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    at: int,
    after: bool,
) -> None:
    sink = ListSink()
    with monkeypatch.context() as patch, suppress(KilledError):
        patch.setattr(SweepStudy, method, dying_at(getattr(SweepStudy, method), at, after))
        run(tmp_path, *SIX_POINTS, sink=sink)
    run(tmp_path, *SIX_POINTS, sink=ListSink(), told=Told.of(sink.events))
    assert told_study(tmp_path) == told_study(repeated[0])


def test_results_that_vanish_while_they_are_taken_over_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, GRID)

    def dies(*given: Any, **named: Any) -> None:  # noqa: ANN401
        raise KilledError

    sink = ListSink()
    with monkeypatch.context() as patch, suppress(KilledError):
        patch.setattr(SweepStudy, "tell_complete", dies)
        run(tmp_path, GRID, "name=again", sink=sink)
    assert study_of(tmp_path, "again").summary(0).taken_from == "small/0"
    shutil.rmtree(tmp_path / "small")
    run(tmp_path, GRID, "name=again", told=Told.of(sink.events))
    study = study_of(tmp_path, "again")
    assert [trial.taken_from for trial in study.summaries()] == ["small/0", None, None]
    assert trained(tmp_path)[3:] == ["again/1", "again/2"]


def test_complete_trials_lists_every_study_of_a_home_newest_first(tmp_path: Path) -> None:
    assert list(complete_trials(study_url(tmp_path))) == []
    run(tmp_path, GRID)
    run(tmp_path, GRID, "name=again")
    found = list(complete_trials(study_url(tmp_path)))
    assert [(known.sweep, known.number) for known in found[:4]] == [
        ("again", 2),
        ("again", 1),
        ("again", 0),
        ("small", 2),
    ]
    assert found[0].taken_from == "small/2"
    assert found[3].taken_from is None
    assert found[0].key == found[3].key


@pytest.mark.parametrize("metric", ["micro_batch_videos", "workers"])
def test_what_was_trained_otherwise_than_its_key_says_is_not_taken(
    tmp_path: Path, metric: str
) -> None:
    """After it ran out of memory, or out of nodes, a trial goes on in smaller parts or groups."""
    run(tmp_path, GRID)
    last = tmp_path / "small/trials/00001" / LAST
    with safe_open(last, "numpy") as opened:
        tensors, about = load_file(last), json.loads(opened.metadata()[HEADER])
    about["state"]["reports"][-1]["metrics"][metric] = 3
    last.write_bytes(save(tensors, {HEADER: json.dumps(about)}))
    run(tmp_path, GRID, "name=again")
    assert trained(tmp_path)[3:] == ["again/1"]

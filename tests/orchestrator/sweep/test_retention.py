"""Which checkpoints stay, trial by trial."""

from pathlib import Path

from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.free_checkpoints import CheckpointFile, CheckpointKind, decide
from orchestrator.tracking.lookup import VersionOrigin


def trial(number: int, state: TrialState, folder: str = "", key: str = "") -> TrialSummary:
    location = folder or f"/storage/{number}"
    return TrialSummary(number, state, {}, 1.0, 1, 1, key or f"key{number}", location)


def file(number: int, kind: CheckpointKind, folder: str = "") -> CheckpointFile:
    name = f"{kind}.safetensors"
    return CheckpointFile(number, folder or f"/storage/{number}", name, kind, 10)


def version(sweep: str = "", number: str = "", key: str = "", source: str = "") -> VersionOrigin:
    return VersionOrigin("m", "4", sweep, number, key, source)


def kept(
    trials: list[TrialSummary], best: list[int], *versions: VersionOrigin
) -> dict[tuple[int, str], str]:
    kinds: tuple[CheckpointKind, ...] = ("last", "best", "leftover")
    files = [file(trial.number, kind) for trial in trials for kind in kinds]
    found = decide("s", trials, files, best, versions)
    stays = {
        (kept_file.file.trial, kept_file.file.kind): kept_file.reason for kept_file in found.kept
    }
    assert {(freed_file.trial, freed_file.kind) for freed_file in found.freed}.isdisjoint(stays)
    assert len(found.freed) + len(stays) == len(files)
    return stays


def test_unfinished_trials_keep_what_they_continue_from() -> None:
    assert kept([trial(0, TrialState.RUNNING)], []).keys() == {(0, "last"), (0, "best")}


def test_of_finished_trials_only_models_stay_and_only_of_the_best() -> None:
    states = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
    stays = kept([trial(k, state) for k, state in enumerate(states)], [1])
    assert stays == {(1, "best"): "number 1 of the sweep's best"}


def test_registered_models_stay() -> None:
    trials = [trial(k, TrialState.COMPLETE) for k in range(3)]
    reason = "registered as m version 4"
    assert kept(trials, [], version("s", "2")) == {(2, "best"): reason}
    # Registered by another sweep, which copied the trial's result.
    assert kept(trials, [], version("other", "2", "key1")) == {(1, "best"): reason}
    assert kept(trials, [], version("other", "2")) == {}


def test_what_a_version_points_to_stays_whatever_it_is() -> None:
    trials = [trial(k, TrialState.FAILED) for k in (1, 11)]
    for source in ("file:///storage/1/last.safetensors", "/storage/1/last.safetensors"):
        assert kept(trials, [], version(source=source)).keys() == {(1, "last")}
    whole = kept(trials, [], version(source="/storage/1/"))
    assert {number for number, _ in whole} == {1}
    assert len(whole) == 3


def test_folders_of_odd_names_are_told_apart() -> None:
    trials = [trial(k, TrialState.FAILED, f"/what? now/a b#%20/{k}") for k in (1, 2)]
    files = [file(k, "last", f"/what? now/a b#%20/{k}") for k in (1, 2)]
    for source in ("/what? now/a b#%20/1", Path("/what? now/a b#%20/1").as_uri()):
        found = decide("s", trials, files, [], [version(source=source)])
        assert [checkpoint.trial for checkpoint in found.freed] == [2]
    below = [file(k, "last", f"s3://bucket/{k}?region=eu") for k in (1, 2)]
    found = decide("s", trials, below, [], [version(source="s3://bucket/1/")])
    assert [checkpoint.trial for checkpoint in found.freed] == [2]


def test_a_folder_that_a_better_trial_shares_stays() -> None:
    trials = [trial(0, TrialState.FAILED), trial(1, TrialState.COMPLETE, "/storage/0")]
    found = decide("s", trials, [file(0, "best")], [1], ())
    assert [kept_file.file.trial for kept_file in found.kept] == [0]

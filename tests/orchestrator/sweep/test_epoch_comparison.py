"""What counts as the same when a trial is run again, and what a sweep has recorded of a trial."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import ReproductionError, SweepNotFoundError
from orchestrator.spec.search_space import resolve
from orchestrator.study.content_key import trial_key
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.epoch_comparison import TOLERANCE, compare_epoch
from orchestrator.sweep.recorded_trial import (
    machine_differences,
    package_differences,
    read_recorded,
    recorded_settings,
    with_epochs,
)
from prvr_model.reporting import EpochReport
from prvr_model.results_version import RESULTS_VERSION
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec

FAKE = "tests.orchestrator.executors.fake_trials"


def row(epoch: int = 1, **metrics: float) -> EpochReport:
    return EpochReport(
        epoch, {name.replace("__", "/"): value for name, value in metrics.items()}, 7
    )


def test_equal_numbers_are_equal_and_clocks_and_memory_do_not_count() -> None:
    then = row(val__SumR=1.1, time__epoch_s=2.0, memory__peak_mb=3.0)
    now = row(val__SumR=1.1, time__epoch_s=9.0, memory__peak_mb=4.0)
    found = compare_epoch(then, now, "equal")
    assert (found.num_compared, found.unequal, found.too_far) == (1, (), ())


def test_one_bit_is_a_difference_where_runs_must_be_equal_and_close_elsewhere() -> None:
    then, now = row(train__total=1.0), row(train__total=1.0 + 2**-52)
    assert len(compare_epoch(then, now, "equal").too_far) == 1
    close = compare_epoch(then, now, "close")
    assert (len(close.unequal), close.too_far) == (1, ())


def test_a_metric_that_only_one_run_has_differs_unless_the_row_was_lost() -> None:
    then, now = row(val__SumR=1.0, a=1.0), row(val__SumR=1.0, a=1.0, train__new=2.0)
    (found,) = compare_epoch(then, now, "close").too_far
    assert (found.metric, found.then, found.now) == ("train/new", None, 2.0)
    assert compare_epoch(now, then, "close").too_far[0].now is None
    assert compare_epoch(row(val__SumR=1.0), now, "equal").too_far == ()
    # Older versions did not measure by verified labels.
    now = row(val__SumR=1.0, a=1.0, val__verified__mAP=2.0)
    assert compare_epoch(then, now, "equal").unequal == ()
    assert len(compare_epoch(now, then, "equal").too_far) == 1


def test_a_collapse_that_is_no_number_in_both_runs_is_the_same() -> None:
    then, now = row(a=float("nan"), b=float("nan")), row(a=float("nan"), b=1.0)
    assert [one.metric for one in compare_epoch(then, now, "equal").too_far] == ["b"]
    assert [one.metric for one in compare_epoch(then, now, "close").too_far] == ["b"]


@pytest.mark.parametrize(
    ("epoch", "metric", "then", "now", "allowed"),
    [
        (9, "train/total", 1.0, 0.96, True),
        (9, "train/total", 1.0, 0.94, False),
        (1, "train/total", 1.0, 0.98, False),
        (9, "val/R1", 20.0, 23.9, True),
        (9, "val/clip/R1", 20.0, 24.1, False),
        (1, "val/R1", 20.0, 21.0, False),
        (9, "val/SumR", 200.0, 207.9, True),
        (9, "val/SumR", 200.0, 208.1, False),
        (9, "val/collapse/query_intra", 1.0, 0.86, True),
        (9, "val/collapse/query_intra", 1.0, 0.84, False),
    ],
)
def test_the_tolerance(epoch: int, metric: str, then: float, now: float, allowed: bool) -> None:
    assert TOLERANCE.allows(epoch, metric, then, now) is allowed


def test_another_processor_is_another_kind_and_gpus_count_only_where_they_train() -> None:
    then = {"cpu": "A", "gpus": ["H100", "H100"], "cpus": 8}
    assert machine_differences(then, {"cpu": "A", "gpus": ["H100"], "cpus": 2}, uses_gpu=True) == ()
    now = {"cpu": "B", "gpus": []}
    assert machine_differences(then, now, uses_gpu=False) == ("CPU B, then A",)
    assert machine_differences(then, now, uses_gpu=True)[1] == "GPUs none, then H100, H100"
    assert machine_differences({}, now, uses_gpu=False) == ("the machine was not recorded",)


def test_package_differences_name_both_versions() -> None:
    then, now = {"torch": "2.0", "ray": "2.60"}, {"torch": "2.1", "ray": "2.60"}
    assert package_differences(then, now) == ("torch 2.1, then 2.0",)
    assert package_differences({}, now, ["torch"]) == ("torch 2.1, then not recorded",)
    assert package_differences(then, {}, ["ray"]) == ("ray missing, then 2.60",)


def summary_of(key: str, epochs: int = 2, continued: int | None = None) -> TrialSummary:
    parameters = {"losses.tau": 0.6}
    return TrialSummary(
        0, TrialState.COMPLETE, parameters, 1.0, 1, epochs, key, "", continued_from_epochs=continued
    )


def test_the_key_tells_epochs_and_version_of_a_trial_whose_sweep_was_extended() -> None:
    spec = small_spec("early_stopping.max_epochs=9")
    five = with_epochs(resolve(spec, {"losses.tau": 0.6}), 5)
    key = trial_key(five, FINGERPRINT, spec.speed)
    settings, version = recorded_settings(spec, summary_of(key), FINGERPRINT)
    assert (settings, version) == (five, RESULTS_VERSION)
    assert recorded_settings(spec, summary_of("0" * 16), FINGERPRINT)[1] is None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of trials that train nothing; trial 2 failed after an epoch."""
    home = tmp_path_factory.mktemp("home")
    spec = small_spec("search.trials=3")
    run_sweep(
        spec,
        "/nowhere",
        FINGERPRINT,
        home,
        executor="inline",
        function=f"{FAKE}:failing_third",
    )
    return home


def test_a_trial_is_read_with_what_the_study_has_of_it(home: Path) -> None:
    found = read_recorded(home, "small", 0)
    assert found.name == "small/0"
    assert [one.epoch for one in found.rows] == [1, 2, 3]
    # Without a checkpoint and an outbox the objective is left.
    assert all(one.metrics.keys() == {"val/SumR"} for one in found.rows)
    assert found.results_version == RESULTS_VERSION
    assert found.settings.training.epochs == 3
    assert "torch" in found.packages


def test_micro_batches_are_those_that_the_trial_went_on_with(home: Path) -> None:
    def rows(*sizes: float | None) -> tuple[EpochReport, ...]:
        named = [{} if size is None else {"micro_batch_videos": size} for size in sizes]
        return tuple(
            EpochReport(epoch, {"val/SumR": 1.0, "train/total": 1.0, **one}, 0)
            for epoch, one in enumerate(named, 1)
        )

    found = read_recorded(home, "small", 0)
    assert found.micro_batch_sizes == ()
    assert replace(found, rows=rows(None, None)).micro_batch_sizes == (None,)
    assert replace(found, rows=rows(8.0, 8.0)).micro_batch_sizes == (8,)
    assert replace(found, rows=rows(None, 8.0, 4.0)).micro_batch_sizes == (None, 8, 4)
    assert compare_epoch(rows(8.0)[0], rows(4.0)[0], "equal").unequal == ()


def test_rows_come_from_the_outbox_where_the_checkpoint_is_gone(home: Path) -> None:
    outbox = home / "outbox" / "small.jsonl"
    outbox.parent.mkdir(exist_ok=True)
    outbox.write_text(
        '{"kind": "outbox", "format": 1, "id": "x"}\n'
        '{"kind": "trial_started", "number": 0, "tags": {"code": "9.9", "version.torch": "1.0"}}\n'
        '{"kind": "epoch", "number": 0, "epoch": 2, "metrics": {"val/SumR": 3.0, "a": 1.0}}\n'
    )
    found = read_recorded(home, "small", 0)
    outbox.unlink()
    assert [len(one.metrics) for one in found.rows] == [1, 2, 1]
    assert (found.code, found.packages) == ("9.9", {"torch": "1.0"})


def test_unknown_sweeps_and_trials_are_refused(home: Path) -> None:
    with pytest.raises(SweepNotFoundError, match="no sweep 'other'"):
        read_recorded(home, "other", 0)
    with pytest.raises(ReproductionError, match="has no trial 3; trials there: 0 to 2"):
        read_recorded(home, "small", 3)


def test_a_failed_trial_keeps_its_rows_and_cause(home: Path) -> None:
    found = read_recorded(home, "small", 2)
    assert [one.epoch for one in found.rows] == [1]
    assert found.summary.cause is not None
    assert replace(found.summary, cause=None).state is TrialState.FAILED

"""Searchers: what is drawn depends on seed and number, and becomes a request."""

from pathlib import Path

import pytest

from orchestrator.spec.search_space import grid_points
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study import searcher as searcher_module
from orchestrator.study.content_key import trial_key
from orchestrator.study.samplers import sampler_arguments
from orchestrator.study.searcher import RefusedTrial, Searcher
from orchestrator.study.study import Drawing, SweepStudy
from orchestrator.study.trial import TrialRequest, TrialState
from prvr_model.errors import SettingsError
from prvr_model.settings import Settings
from tests.orchestrator.helpers import (
    FINGERPRINT,
    new_searcher,
    new_study,
    reopened_study,
    small_spec,
)

GRID = (
    "search={sampler: grid, seed: 3, parameters: {losses.tau: {type: float, low: 0.5, high: 0.9, "
    "step: 0.2}, losses.cross_branch: {type: categorical, choices: [fixed, adaptive]}}}"
)
SAMPLERS = ["random", "tpe", "qmc", "gp", "cmaes"]
NUMBERS = (
    "search.parameters={losses.tau: {type: float, low: 0.5, high: 0.9}, model.num_scales: {type: "
    "int, low: 1, high: 8}, losses.cbva_weight: {type: float, low: 0.01, high: 1, log: true}}"
)

CONDITIONAL = (
    "search.parameters={losses.tau: {type: float, low: 0.5, high: 0.9, step: 0.2, when: "
    "{losses.cross_branch: adaptive}}, losses.cross_branch: {type: categorical, choices: [fixed, "
    "adaptive]}, losses.cbva_weight: {type: categorical, choices: [0.1, 0.2], when: "
    "{losses.cross_branch: [fixed, off]}}}"
)


def spec_of(sampler: str, *overrides: str) -> SweepSpec:
    """Enough trials for two generations of the evolution strategy, which takes numbers alone."""
    only = [NUMBERS, "search.trials=16"] if sampler == "cmaes" else []
    return small_spec(f"search.sampler={sampler}", *only, *overrides)


def finish(study: SweepStudy, request: TrialRequest) -> None:
    study.record_epoch(request.number, 1, request.settings.losses.tau, 1, is_judged=False)
    study.tell_complete(request.number)


def drawn(home: Path, spec: SweepSpec, reopen_at: int | None = None) -> list[TrialRequest]:
    """All trials of a sweep, one after the other; the driver may change in between."""
    study = new_study(home, spec)
    requests = []
    for number in range(spec.num_trials):
        if number == reopen_at:
            study = reopened_study(home, spec)
        request = new_searcher(study, spec).next()
        assert isinstance(request, TrialRequest)
        requests.append(request)
        finish(study, request)
    assert new_searcher(study, spec).next() is None
    return requests


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_driver_goes_on_with_the_same_draws(tmp_path: Path, sampler: str) -> None:
    spec = spec_of(sampler)
    whole = drawn(tmp_path / "whole", spec)
    parts = drawn(tmp_path / "parts", spec, reopen_at=5)
    assert [candidate.parameters for candidate in whole] == [part.parameters for part in parts]
    assert len({candidate.key for candidate in whole}) == len(whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seed_changes_the_draws(tmp_path: Path, sampler: str) -> None:
    spec = [spec_of(sampler, f"search.seed={k}") for k in (3, 4)]
    first = [drawn(tmp_path / str(k), one)[0].parameters for k, one in enumerate(spec)]
    assert first[0] != first[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trial_half_drawn_gets_the_same_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    spec = spec_of(sampler)
    expected = drawn(tmp_path / "whole", spec)[:2]
    home = tmp_path / "half"
    study = new_study(home, spec)
    request = new_searcher(study, spec).next()
    assert isinstance(request, TrialRequest)
    finish(study, request)
    half = dict(list(searcher_module.distributions(spec).items())[:2])
    study.ask(Drawing(half))
    again = new_searcher(reopened_study(home, spec), spec).next()
    assert isinstance(again, TrialRequest)
    assert again.parameters == expected[1].parameters


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "gp", "grid"])
def test_a_conditional_parameter_has_a_value_where_its_condition_holds(
    tmp_path: Path, sampler: str
) -> None:
    trials = "null" if sampler == "grid" else "12"
    only = [CONDITIONAL, f"search.sampler={sampler}", f"search.trials={trials}", "reuse=false"]
    spec = small_spec(*only)
    assert spec.num_trials == (2 + 3 if sampler == "grid" else 12)
    whole = drawn(tmp_path / "whole", spec)
    parts = drawn(tmp_path / "parts", spec, reopen_at=4)
    assert [trial.parameters for trial in whole] == [trial.parameters for trial in parts]
    for trial in whole:
        is_adaptive = trial.parameters["losses.cross_branch"] == "adaptive"
        assert ("losses.tau" in trial.parameters) == is_adaptive
        assert ("losses.cbva_weight" in trial.parameters) == (not is_adaptive)
    assert len({"losses.tau" in trial.parameters for trial in whole}) == 2


def test_grid_runs_every_point_once(tmp_path: Path) -> None:
    spec = small_spec(GRID)
    requests = drawn(tmp_path, spec, reopen_at=3)
    assert [request.parameters for request in requests] == grid_points(spec)
    assert len(requests) == 6


def test_qmc_is_spread_from_the_first_trial_on(tmp_path: Path) -> None:
    spec = small_spec("search.sampler=qmc", "search.trials=8")
    scales = sorted(trial.parameters["model.num_scales"] for trial in drawn(tmp_path, spec))
    assert scales == list(range(1, 9))


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_sampler_learns(tmp_path: Path, sampler: str) -> None:
    """After the random start it draws the higher tau, which `finish` makes the better one."""
    spec = spec_of(sampler, "search.trials=24")
    startup = sampler_arguments(spec.search).get("n_startup_trials", 8)
    assert startup == 8
    taus = [trial.parameters["losses.tau"] for trial in drawn(tmp_path, spec)]
    random, learned = taus[:startup], taus[-8:]
    assert sum(learned) / 8 > sum(random) / startup


def test_request_carries_what_a_trial_needs(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    request = new_searcher(study, spec).next()
    assert isinstance(request, TrialRequest)
    assert request.folder == "/storage/small/trials/00000"
    assert request.store == "/store"
    assert request.settings.losses.tau == request.parameters["losses.tau"]
    assert request.parameters["losses.tau"] in (0.5, 0.6, 0.7, 0.8, 0.9)
    assert request.key == trial_key(request.settings, FINGERPRINT, spec.speed)
    summary = study.summary(0)
    assert (summary.key, summary.folder) == (request.key, request.folder)
    assert summary.parameters == request.parameters


def test_options_of_a_storage_stay_at_the_end_of_its_uri(tmp_path: Path) -> None:
    spec = small_spec()
    place = "s3://bucket/runs?region=eu-west-1"
    request = Searcher(new_study(tmp_path, spec), spec, "/store", FINGERPRINT, place).next()
    assert isinstance(request, TrialRequest)
    assert request.folder == "s3://bucket/runs/small/trials/00000?region=eu-west-1"


def test_combination_without_settings_fails_and_the_next_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)

    def refuse(spec: SweepSpec, parameters: dict[str, object]) -> Settings:
        raise SettingsError([("losses.tau", "no")])

    with monkeypatch.context() as patch:
        patch.setattr(searcher_module, "resolve", refuse)
        refused = new_searcher(study, spec).next()
    assert isinstance(refused, RefusedTrial)
    assert refused.cause.kind == "SettingsError"
    assert study.summary(0).state is TrialState.FAILED
    assert study.summary(0).parameters == refused.parameters
    following = new_searcher(study, spec).next()
    assert isinstance(following, TrialRequest)
    assert following.number == 1

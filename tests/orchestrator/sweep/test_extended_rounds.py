"""Sweeps with rounds refuse extensions that would look at results once more."""

from pathlib import Path

import pytest

from orchestrator.base.errors import ResumeError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.resume import ResumeRequest, resume
from tests.orchestrator.helpers import small_spec
from tests.orchestrator.sweep.test_rounds import CONFIRM, RACE, run


def refused(home: Path, spec: SweepSpec, function: str, request: ResumeRequest) -> str:
    """The message that refuses to extend a finished sweep in this way."""
    run(home, spec, function, outbox_id="none")
    with pytest.raises(ResumeError) as caught:
        resume(request, SilentProgress(), lambda _: None)
    return str(caught.value)


def test_a_race_takes_no_more_seeds(tmp_path: Path) -> None:
    request = ResumeRequest("small", tmp_path, seeds=4)
    said = refused(tmp_path, read_spec(RACE), "ranked", request)
    assert said.startswith("--seeds 4: sweep 'small' is a race")
    assert "launch it under another name" in said


def test_a_confirmed_search_takes_no_more_trials(tmp_path: Path) -> None:
    random = ("search.sampler=random", "confirm={top: 2, seeds: 2}")
    request = ResumeRequest("small", tmp_path, trials=9)
    said = refused(tmp_path, small_spec(*random), "lucky", request)
    assert said.startswith("--trials 9: sweep 'small' has confirmed its best")


def test_a_search_takes_no_seeds(tmp_path: Path) -> None:
    request = ResumeRequest("small", tmp_path, seeds=4)
    said = refused(tmp_path, small_spec(*CONFIRM), "lucky", request)
    assert said.endswith("is a search, whose trials share one seed; allowed: --trials")

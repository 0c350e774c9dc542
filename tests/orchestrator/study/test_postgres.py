"""A study in PostgreSQL is what it is in SQLite, whichever driver goes on with it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import StudyReader
from orchestrator.study.samplers import build_sampler
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import FailureCause, TrialRequest
from prvr_model.reporting import Decision
from tests.orchestrator.helpers import new_searcher, small_spec
from tests.postgres import postgres_server, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def run(url: str, spec: SweepSpec, reopen_at: int | None = None) -> list[Any]:
    """What a study holds after a sweep of all kinds of ends; times apart."""
    sampler, pruner = build_sampler(spec), build_pruner(spec.early_stopping)
    study = SweepStudy.create(url, spec.name, "maximize", sampler, pruner, {"num_trials": 8})
    for number in range(8):
        if number == reopen_at:
            study = SweepStudy.reopen(url, spec.name, sampler, pruner)
        request = new_searcher(study, spec).next()
        assert isinstance(request, TrialRequest)
        if number == 3:
            study.tell_failed(number, FailureCause("Kind", "why\nand \x1b more", "Zeile 1: ü"))
            continue
        study.note_workers(number, 2)
        decision = Decision.CONTINUE
        for epoch in (1, 2, 3):
            if decision is Decision.CONTINUE:
                value = request.settings.losses.tau * epoch - number / 10
                decision = study.record_epoch(
                    number, epoch, value, 1000 * epoch, is_judged=epoch < 3
                ).decision
        if number == 7:
            continue
        if decision is Decision.STOP:
            study.tell_pruned(number)
        else:
            study.tell_complete(number)
    found = StudyReader.open(url, spec.name)
    summaries = [replace(trial, started_ms=0, ended_ms=0) for trial in found.summaries()]
    return [*summaries, found.work_records(), found.attributes]


def test_a_study_in_postgresql_holds_what_one_in_sqlite_holds(
    database: str, tmp_path: Path
) -> None:
    spec = small_spec("search.sampler=tpe", "search.trials=8", "early_stopping.method=asha")
    there = run(database, spec, reopen_at=5)
    assert there == run(study_url(tmp_path), spec)
    assert len({trial.state for trial in there[:8]}) == 4

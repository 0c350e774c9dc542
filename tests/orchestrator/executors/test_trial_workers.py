"""How many workers trained a trial is kept with it."""

from pathlib import Path

from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec


def test_numbers_of_workers_are_kept_in_their_order(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    searcher = new_searcher(study, spec)
    for _ in range(2):
        searcher.next()
    for workers in (4, 4, 2, 2, 4):
        study.note_workers(0, workers)
    assert study.summary(0).workers == (4, 2, 4)
    again = reopened_study(tmp_path, spec)
    again.note_workers(0, 4)
    assert [again.summary(number).workers for number in (0, 1)] == [(4, 2, 4), ()]

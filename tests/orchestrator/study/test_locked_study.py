"""Another connection holds the study's database while an epoch is recorded: nothing is lost."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from prvr_model.reporting import Decision
from tests.orchestrator.helpers import new_searcher, new_study, small_spec

# Long enough to see that it waits; were it shorter, the test would only see less.
_LOOK_S = 0.2


def test_an_epoch_waits_for_a_locked_database(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    request = new_searcher(study, spec).next()
    assert request is not None
    told, started = [], threading.Event()

    def record() -> None:
        started.set()
        told.append(study.record_epoch(request.number, 1, 5.0, 1000, is_judged=True))

    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        driver = threading.Thread(target=record)
        driver.start()
        assert started.wait(30)
        driver.join(_LOOK_S)
        assert told == []
        # Readers are not kept waiting: the status is shown.
        reader = StudyReader.open(study_url(tmp_path), "small")
        assert reader.rows(request.number) == ()
        other.execute("COMMIT")
    driver.join(60)
    assert [(answer.decision, answer.is_new) for answer in told] == [(Decision.CONTINUE, True)]
    again = StudyReader.open(study_url(tmp_path), "small")
    assert [row.objective for row in again.rows(request.number)] == [5.0]

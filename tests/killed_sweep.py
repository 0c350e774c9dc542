"""The child of `tests.kill_resume`: launches a sweep and dies at a chosen instant of it.

The product knows nothing of it: what is counted are calls that this process wraps around its own
files, commits and training steps before the command line starts.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

from orchestrator import cli
from orchestrator.study.driver_storage import DriverStorage
from orchestrator.sweep import trial_teller
from orchestrator.tracking import outbox
from prvr_model.files import folder as storage
from prvr_model.training import train_loop


class Instants:
    """Counts instants by kind and ends the process at one of them.

    Args:
        kind: Kind of the instant at which to end; empty: never.
        index: Which one of its kind, from 1.
        signal_number: How.
    """

    def __init__(self, kind: str, index: int, signal_number: int) -> None:
        self._kind = kind
        self._index = index
        self._signal = signal_number
        self.counts: Counter[str] = Counter()

    def reach(self, kind: str, prepare: Callable[[], object] = lambda: None) -> None:
        """One more of a kind; `prepare` leaves what a death in the middle would leave."""
        self.counts[kind] += 1
        if kind == self._kind and self.counts[kind] == self._index:
            if self._signal == signal.SIGKILL:
                prepare()
            os.kill(os.getpid(), self._signal)


def wrap(instants: Instants, owner: Any, name: str, what: str) -> None:  # noqa: ANN401
    """Make the beginning and the end of a function's calls instants."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        instants.reach(f"{what} begins")
        result = original(*args, **options)
        instants.reach(f"{what} done")
        return result

    setattr(owner, name, wrapped)


def wrap_files(instants: Instants) -> None:
    """Checkpoints and the outbox, also half written."""
    write_file, write_lines = storage.replace_file, outbox._write_all

    def write_local(target: Path, content: bytes, *, durable: bool = True) -> None:
        half = target.with_name(f".{target.name}.killed.partial")
        instants.reach(
            "checkpoint half written",
            lambda: (
                half.parent.mkdir(parents=True, exist_ok=True)
                or half.write_bytes(content[: len(content) // 2])
            ),
        )
        write_file(target, content, durable=durable)
        instants.reach("checkpoint written")

    def write_all(file: BinaryIO, data: bytes) -> None:
        instants.reach("outbox line half written", lambda: file.write(data[: len(data) // 2]))
        write_lines(file, data)
        instants.reach("outbox line written")

    storage.replace_file, outbox._write_all = write_local, write_all
    wrap(instants, Path, "replace", "rename")
    wrap(instants, outbox.OutboxReader, "commit", "position of the sender")


def wrap_databases(instants: Instants) -> None:
    """Statements and commits of the study and of MLflow's SQLite file."""

    def name(connection: Connection) -> str:
        return "study" if "study.db" in str(connection.engine.url) else "MLflow"

    @event.listens_for(Engine, "before_cursor_execute")
    def statement(connection: Connection, *rest: object) -> None:
        instants.reach(f"{name(connection)} statement")

    @event.listens_for(Engine, "commit")
    def commit(connection: Connection) -> None:
        instants.reach(f"{name(connection)} commit begins")

    @event.listens_for(Session, "after_commit")
    def committed(session: Session) -> None:
        instants.reach("commit done")

    wrap(instants, DriverStorage, "flush", "writing of the study")


def main(arguments: list[str]) -> int:
    """Run a command line: KIND INDEX SIGNAL COUNTS_FILE ARGUMENT..."""
    # Whoever runs the tests may ignore it, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, index, signal_number, counts_file, *command = arguments
    instants = Instants(kind, int(index), int(signal_number))
    wrap_files(instants)
    wrap_databases(instants)
    wrap(instants, train_loop, "draws_for_step", "training step")
    wrap(instants, trial_teller.TrialTeller, "_send", "event")
    code = cli.run(command)
    Path(counts_file).write_text(json.dumps(instants.counts))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Tells a command or a webhook how a sweep ended: `--notify` of `launch` and `resume`."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import FINISHED_WITH_FAILURES, INTERRUPTED
from orchestrator.base.text import first_line, without_secrets
from prvr_model.errors import PrvrError

if TYPE_CHECKING:
    from orchestrator.base.notifier import Target
    from orchestrator.sweep.status import SweepStatus

NOTIFY_VARIABLE = "PRVR_NOTIFY"
notify_option = click.option(
    "--notify",
    metavar="COMMAND_OR_URL",
    envvar=NOTIFY_VARIABLE,
    show_envvar=True,
    help="At the end, give a command a small JSON object on stdin, or send it to a webhook: how "
    "the sweep ended, its trials, its best value.",
)

_LIMIT_S = 30.0
# After Ctrl-C everything ends within 10 s.
_INTERRUPTED_LIMIT_S = 3.0


def notified(given: str | None, home: Path, sweep: str, run: Callable[[], int]) -> int:
    """Run a sweep and tell how it ended, also where it fails; a message that fails changes nothing.

    Args:
        given: A command or an address; None: nobody is told.
        home: Home of the sweep.
        sweep: Its name.
        run: Runs it; gives the exit code.

    Raises:
        NotifyError: `given` cannot be used; nothing was run.
    """
    if given is None:
        return run()
    from orchestrator.base.notifier import Target

    target, begin_s = Target.of(given), time.monotonic()
    try:
        code = run()
    except BaseException as error:
        _tell(target, _Ended(home, sweep, _code_of(error), time.monotonic() - begin_s, error))
        raise
    _tell(target, _Ended(home, sweep, code, time.monotonic() - begin_s))
    return code


@dataclass(frozen=True)
class _Ended:
    """How a command ended.

    Args:
        home: Home of the sweep.
        sweep: Its name.
        code: The exit code.
        seconds: How long it took.
        error: What ended it; None: it came to its end.
    """

    home: Path
    sweep: str
    code: int
    seconds: float
    error: BaseException | None = None

    def message(self) -> dict[str, Any]:
        """What is sent."""
        from orchestrator.study.joint_record import joint_record
        from orchestrator.study.money import total_cost

        statuses = self._statuses()
        counts: Counter[str] = Counter()
        for status in statuses.values():
            counts.update({str(state): number for state, number in status.counts.items()})
        parts: dict[str, Any] = {name: _part(status) for name, status in statuses.items()}
        is_joint = joint_record(self.home, self.sweep) is not None
        cost = total_cost(status.cost for status in statuses.values())
        budgets = [status.over_budget for status in statuses.values() if status.over_budget]
        event = self._event(is_over_budget=bool(budgets))
        return {
            "event": event,
            "sweep": self.sweep,
            "counts": counts,
            **({"parts": parts} if is_joint else {"best": parts.get(self.sweep, {}).get("best")}),
            "exit_code": self.code,
            **({"money": cost.to_dict()} if cost else {}),
            "seconds": round(self.seconds, 1),
            **self._reason(budgets if event == "budget" else []),
        }

    def _event(self, *, is_over_budget: bool) -> str:
        if self.code == INTERRUPTED:
            return "interrupted"
        if self.error is not None:
            return "failed"
        if is_over_budget:
            return "budget"
        return "finished_with_failures" if self.code == FINISHED_WITH_FAILURES else "finished"

    def _reason(self, budgets: Sequence[str]) -> dict[str, str]:
        texts = budgets or ([str(self.error)] if isinstance(self.error, Exception) else [])
        return {"reason": without_secrets(first_line(texts[0]))} if texts else {}

    def _statuses(self) -> "Mapping[str, SweepStatus]":
        """The sweep, or its parts, as far as this process ran them."""
        from orchestrator.study.reader import begun_parts, begun_study
        from orchestrator.sweep.status import read_status

        found = {}
        try:
            for name in begun_parts(self.home, self.sweep):
                study = begun_study(self.home, name)
                driver = (study.attributes.get("driver") or {}) if study else {}
                if driver.get("pid") == os.getpid():
                    found[name] = read_status(self.home, name)
        except Exception:  # noqa: BLE001  (a study that cannot be read may be why the sweep failed)
            return found
        return found


def _part(status: "SweepStatus") -> Mapping[str, Any]:
    best = status.best or status.best_so_far
    return {
        "counts": {str(state): number for state, number in status.counts.items()},
        "best": best and {"trial": best.number, "value": best.value, "metric": status.metric},
    }


def _code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return INTERRUPTED
    return error.exit_code if isinstance(error, PrvrError | click.ClickException) else 1


def _tell(target: "Target", ended: _Ended) -> None:
    """Send the message; a warning says where that fails."""
    from orchestrator.base.notifier import send

    limit_s = _INTERRUPTED_LIMIT_S if ended.code == INTERRUPTED else _LIMIT_S
    try:
        problem = send(target, ended.message(), limit_s)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the sweep has ended; how, stays so)
        problem = type(error).__name__
    if problem is not None:
        with suppress(OSError):
            click.echo(f"warning: {target} was not told how the sweep ended: {problem}", err=True)

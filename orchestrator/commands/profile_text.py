"""Where the time of a command went, as JSON and as a table: `--profile`."""

from collections.abc import Mapping
from typing import Any

from orchestrator.base.stopwatch import TRIALS, running_stopwatch
from orchestrator.base.text import count


def profile_key() -> dict[str, Any]:
    """The key `profile` for JSON, if a stopwatch runs."""
    stopwatch = running_stopwatch()
    return {"profile": stopwatch.profile()} if stopwatch else {}


def render_profile(profile: Mapping[str, Any]) -> str:
    """The phases of the wall time, then what trials did meanwhile."""
    phases, trials, wall_s = profile["phases"], profile["trials"], profile["wall_s"]
    lines = [f"{'wall time':<28}{wall_s:7.1f} s  100 %"]
    lines += [_line(name, spent, wall_s) for name, spent in phases.items()]
    slots_s = trials["at_once"] * phases.get(TRIALS, 0.0)
    if slots_s:
        at_once = count(trials["at_once"], "trial")
        lines.append(f"{at_once} at once for {phases[TRIALS]:.1f} s: {slots_s:.1f} s of trials")
        lines += [_line(name, trials[key], slots_s) for name, key in _OF_TRIALS.items()]
    return "\n".join(lines)


_OF_TRIALS = {
    "training, first epochs": "first_epochs_s",
    "training, later epochs": "later_epochs_s",
    "evaluation": "evaluation_s",
    "starts, checkpoints, gaps": "other_s",
}


def _line(name: str, spent_s: float, whole_s: float) -> str:
    return f"  {name:<26}{spent_s:7.1f} s {100 * spent_s / whole_s:4.0f} %"

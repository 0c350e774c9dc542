"""Runs `prvr-sweep` as a user does: in a process of its own, in a folder of the test's."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orchestrator import cli
from tests.locations import ROOT
from tests.warm_process import run_warm

Run: TypeAlias = Callable[..., tuple[str, str]]
"""Runs a command line, which must end with an exit code; gives stdout and stderr."""

# Far longer than any command of a test takes; a hanging one must not hang the tests.
TIMEOUT_S = 600


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> list[str]:
    """The command line of this checkout, whatever is installed elsewhere."""
    return [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    """The caller's environment, with this checkout to import from."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def prvr(*arguments: str | Path, cwd: Path, **changes: str) -> Done:
    """Run a command to its end, in a process whose imports were made before.

    Args:
        arguments: The command's.
        cwd: Its working directory.
        changes: What its environment holds beside the caller's.
    """
    own = {**environment(), **changes}
    ended = run_warm(_run_command, [*map(str, arguments)], TIMEOUT_S, cwd, own)
    return Done(ended.returncode, ended.stdout, ended.stderr)


def prvr_cold(*arguments: str | Path, cwd: Path) -> Done:
    """Run a command to its end as a shell does, for tests of what a command imports."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _run_command(arguments: list[str]) -> int:
    # As `cli.main` does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return cli.run(arguments)


TINY_SPACE = """\
name: tiny
question: Does a sweep run from end to end?
data:
  synthetic: {train_videos: 12, val_videos: 8, test_videos: 8, min_frames: 10, max_frames: 20}
settings:
  model.hidden_size: 8
  model.num_heads: 2
  model.num_frames: 16
  model.num_clips: 8
  model.merge_ratio: 0.75
  model.num_scales: 2
  losses.num_levels: 2
  losses.smallest_level: 4
  losses.hard_negative_epoch: null
  training.batch_videos: 6
  optimizer.schedule_epochs: 2
search:
  sampler: grid
  seed: 1
  parameters:
    optimizer.learning_rate: {type: categorical, choices: [1e-3, 1e-2]}
early_stopping: {method: none, max_epochs: 2}
"""
"""A sweep of two trials that takes a second of training."""

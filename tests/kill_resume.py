"""Kill a sweep at an instant drawn from a seed, resume it, and compare with one that lived.

`python -m tests.kill_resume --seed S --json` prints one line: {"equal": whether study, checkpoints
and MLflow are the same bit for bit (clocks and memory apart), "in_flight": what was being done at
the instant, "differences": places that differ}.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator import cli
from orchestrator.tracking.store import TrackingStore, settle_mlflow
from tests import killed_sweep
from tests.warm_process import Ended, run_warm

TIMEOUT_S = 300
_EXIT_FAILED_TRIALS = 4
_EXIT_INTERRUPTED = 130
_MOST_SHOWN = 20

SPACE = """\
name: killed
question: Is a sweep that was killed the same as one that lived?
data: {store}
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
  optimizer.schedule_epochs: 4
search:
  sampler: tpe
  seed: 7
  trials: 8
  parameters:
    optimizer.learning_rate: {{type: categorical, choices: [1e-3, 1e-2, 1e+30]}}
    losses.tau: {{type: float, low: 0.5, high: 0.9}}
    losses.tcpl_angle_weight: {{type: float, low: 5, high: 60, log: true}}
early_stopping: {{method: asha, first_rung: 2, reduction: 2, max_epochs: 4}}
speed: {{threads: 1, checkpoint_every_epochs: {every}}}
concurrency: 1
register: {{top: 0}}
"""
"""Trials that are pruned, complete and fail, drawn by a sampler that learns from all of them."""


@dataclass(frozen=True)
class Undisturbed:
    """A sweep that lived: what it left, and how often each kind of instant came."""

    content: dict[str, Any]
    counts: dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """What a kill and a resume came to."""

    equal: bool
    in_flight: str
    differences: list[str]


@cache
def scratch() -> Path:
    """Folder with the data and an empty MLflow database, made once a process."""
    from orchestrator.tracking.writer import connect
    from prvr_model.store.synthetic import SyntheticSettings, write_synthetic

    folder = Path(tempfile.mkdtemp(prefix="prvr-kill-"))
    sizes = {"train_videos": 12, "val_videos": 8, "test_videos": 2}
    write_synthetic(
        folder / "store", SyntheticSettings(**sizes, min_frames=10, max_frames=20), name="synthetic"
    )
    settle_mlflow()
    connect(TrackingStore.of_home(folder / "template"))
    return folder


def new_home(name: str, every: int) -> Path:
    """A home in which a sweep can be launched, with its spec beside it."""
    home = scratch() / name / "home"
    shutil.rmtree(home.parent, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy(scratch() / "template" / "mlflow.db", home / "mlflow.db")
    space = SPACE.format(store=scratch() / "store", every=every)
    (home.parent / "space.yaml").write_text(space)
    return home


def launch_arguments(home: Path) -> list[str]:
    """The product's command line that begins the sweep."""
    space = str(home.parent / "space.yaml")
    return ["launch", space, "--home", str(home), "--executor", "inline", "--json"]


def launch(
    home: Path, kind: str = "", index: int = 0, signal_number: int = signal.SIGKILL
) -> Ended:
    """Launch a sweep that ends itself at an instant."""
    counts = str(home.parent / "counts.json")
    instant = [kind, str(index), str(int(signal_number)), counts]
    return run_warm(killed_sweep.main, instant + launch_arguments(home), TIMEOUT_S)


@cache
def undisturbed(every: int) -> Undisturbed:
    """The sweep that nobody kills; once a process and spec."""
    from tests.sweep_content import content

    home = new_home(f"lived-{every}", every)
    done = launch(home)
    assert done.returncode == _EXIT_FAILED_TRIALS, done.stderr
    counts = json.loads((home.parent / "counts.json").read_text())
    return Undisturbed(content(home, "killed"), counts)


def go_on(home: Path) -> Ended:
    """The product's resume; a sweep that had not begun is launched, as the product says."""
    again = ["resume", "killed", "--home", str(home), "--json"]
    done = run_warm(cli.run, again, TIMEOUT_S)
    if done.returncode == 2 and ("launch it" in done.stderr or "no sweep" in done.stderr):
        done = run_warm(cli.run, launch_arguments(home), TIMEOUT_S)
    return done


def kill_and_resume(seed: int, signal_number: int = signal.SIGKILL) -> Outcome:
    """Kill a sweep at the seed's instant, resume it and compare.

    Seeds one after the other go through the kinds of instants; which of its kind is drawn.
    """
    from tests.sweep_content import content

    every = 1 + seed % 2
    lived = undisturbed(every)
    kinds = sorted(lived.counts)
    kind = kinds[seed % len(kinds)]
    index = random.Random(seed).randint(1, lived.counts[kind])
    home, index, was_killed = killed_home(seed, every, kind, index, signal_number)
    in_flight = f"{kind} ({index} of {lived.counts[kind]})"
    if not was_killed:
        in_flight = f"nothing: it ended before {in_flight}"
    resumed = go_on(home)
    if resumed.returncode != _EXIT_FAILED_TRIALS:
        return Outcome(
            False, in_flight, [f"exit code {resumed.returncode}", resumed.stderr[-2000:]]
        )
    differences = compare(lived.content, content(home, "killed"))
    if not differences:
        shutil.rmtree(home.parent)
    return Outcome(not differences, in_flight, differences)


def killed_home(
    seed: int, every: int, kind: str, index: int, signal_number: int
) -> tuple[Path, int, bool]:
    """Home of a sweep that was killed, at which instant of its kind, and whether it was.

    How often MLflow's thread does a thing differs from run to run: an instant that does not come
    is drawn in again, to half its number.
    """
    while True:
        # A name for each, since MLflow keeps connections to a database that was there before.
        home = new_home(f"killed-{seed}-{signal_number:d}", every)
        killed = launch(home, kind, index, signal_number)
        was_killed = killed.returncode in (-signal.SIGKILL, _EXIT_INTERRUPTED)
        if was_killed or index == 1:
            return home, index, was_killed
        index //= 2


def compare(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Places that differ, with both values."""
    paths = [*expected, *(path for path in found if path not in expected)]
    return [
        f"{path}: {found.get(path, 'nothing')!r} after the kill, {expected.get(path, 'nothing')!r} "
        "without it"
        for path in paths
        # As text: NaN equals itself, and every bit of a number shows.
        if repr(expected.get(path, "nothing")) != repr(found.get(path, "nothing"))
    ][:_MOST_SHOWN]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="draws the instant")
    parser.add_argument("--signal", choices=["KILL", "INT"], default="KILL", help="how it ends")
    parser.add_argument("--json", action="store_true", help="one line of JSON (the only form)")
    options = parser.parse_args()
    try:
        outcome = kill_and_resume(options.seed, signal.Signals[f"SIG{options.signal}"])
    finally:
        shutil.rmtree(scratch(), ignore_errors=True)
    sys.stdout.write(json.dumps(vars(outcome)) + "\n")
    return 0 if outcome.equal else 1


if __name__ == "__main__":
    sys.exit(main())

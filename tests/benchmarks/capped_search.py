"""What a search loses where its sampler is given some of the known trials instead of all.

Run `python -m tests.benchmarks.capped_search --json`. Made-up objectives over six parameters with
noise, hundreds of trials at once, pruned at rungs. Every limit searches the same objectives from
the same seeds. Figures are distances of true values from the optimum, where a random point's is
about 1; means over objectives and seeds with their standard errors: `best` of the best of the ten
trials that measured best, as a confirmation would find it, `late` the mean of the last fifth of the
trials. `best_more` and `late_more` are differences from no limit, paired by objective and seed:
above 0 the limit is worse. `draw_ms` is processor time of a draw, the median of the last fifth.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from orchestrator.spec.loading import read_spec
from orchestrator.study.informative import LimitedSampler
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import quiet_optuna
from orchestrator.study.samplers import build_sampler, distributions
from tests.benchmarks.measure import arguments, show

_SPEC = """
name: capped
question: What does a limit cost?
data: builtin
search:
  sampler: {sampler}
  seed: {seed}
  trials: {trials}
  parameters:
    losses.tcpl_distance_weight: {{type: float, low: 4, high: 60, log: true}}
    losses.tcpl_angle_weight: {{type: float, low: 7.5, high: 120, log: true}}
    losses.cbva_weight: {{type: float, low: 0.025, high: 0.4, log: true}}
    losses.tau: {{type: float, low: 0.5, high: 0.95}}
    model.num_scales: {{type: int, low: 1, high: 8}}
    losses.cross_branch: {{type: categorical, choices: [fixed, adaptive]}}
early_stopping: {{method: asha, first_rung: 3, reduction: 3, max_epochs: {epochs}}}
"""
_EPOCHS = 9
_NO_LIMIT = 10**9
# Of a value whose optimum is 0 and whose mean is about -1: runs differ by seed and by epoch.
_TRIAL_NOISE, _EPOCH_NOISE = 0.05, 0.02
_LATE = 5
_CONFIRMED = 10


@dataclass(frozen=True)
class Landscape:
    """A function of six shares from 0 to 1, at most 0."""

    height: Callable[[np.ndarray], float]


def _landscapes(seed: int) -> dict[str, Landscape]:
    random = np.random.default_rng(seed)
    middle, weights = random.uniform(0.2, 0.8, 6), random.dirichlet(np.ones(6)) * 12
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]
    peaks, heights = random.uniform(0.1, 0.9, (6, 6)), np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5])

    def bowl(point: np.ndarray) -> float:
        return -float(weights @ (point - middle) ** 2)

    def valley(point: np.ndarray) -> float:
        return -float(weights @ (turn @ (point - middle)) ** 2)

    def hills(point: np.ndarray) -> float:
        distances = ((point - peaks) ** 2).sum(axis=1)
        return float((heights * np.exp(-distances / 0.15)).max()) - 1

    return {name.__name__: Landscape(name) for name in (bowl, valley, hills)}


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    best: float
    late: float
    draw_ms: float


def search(landscape: Landscape, sampler: str, limit: int, seed: int, options: Any) -> Found:  # noqa: ANN401
    """One search: trials report in random order, as many at once as there are places."""
    text = _SPEC.format(sampler=sampler, seed=seed, trials=options.trials, epochs=_EPOCHS)
    spec = read_spec(text, (), "capped.yaml", Path("/nowhere"))
    drawing = build_sampler(spec)
    if isinstance(drawing, LimitedSampler):
        drawing._limit = limit
    study = optuna.create_study(
        direction="maximize", sampler=drawing, pruner=build_pruner(spec.early_stopping)
    )
    space = distributions(spec)
    random = np.random.default_rng(seed)
    true: list[float] = []
    draws_s: list[float] = []
    live: list[tuple[optuna.Trial, int, float]] = []
    while len(true) < options.trials or live:
        while len(true) < options.trials and len(live) < options.at_once:
            trial = study.ask()
            begin = time.process_time()
            point = {path: trial._suggest(path, space[path]) for path in space}
            draws_s.append(time.process_time() - begin)
            true.append(landscape.height(_shares(space, point)))
            live.append((trial, 0, true[-1] + random.normal(0, _TRIAL_NOISE)))
        trial, epoch, height = live.pop(int(random.integers(len(live))))
        value = height - 0.5 ** (epoch + 1) + random.normal(0, _EPOCH_NOISE)
        trial.report(value, epoch + 1)
        if epoch + 1 == _EPOCHS:
            study.tell(trial, value)
        elif trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
        else:
            live.append((trial, epoch + 1, height))
    last = options.trials // _LATE
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = sorted(complete, key=lambda trial: -(trial.value or 0))[:_CONFIRMED]
    return Found(
        -max(true[trial.number] for trial in best),
        -fmean(true[-last:]),
        1000 * median(draws_s[-last:]),
    )


def _shares(space: Mapping[str, Any], point: Mapping[str, Any]) -> np.ndarray:
    return np.array([_share(space[path], point[path]) for path in space])


def _share(distribution: Any, value: Any) -> float:  # noqa: ANN401
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return distribution.choices.index(value) / (len(distribution.choices) - 1)
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = map(math.log, (low, high, value))
    return float((value - low) / (high - low))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--limits", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--seeds", type=int, default=8)
    options = arguments(parser)
    quiet_optuna()
    show(measure(options), options)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of random search, of every limit and of none."""
    searches = {
        "random": ("random", _NO_LIMIT),
        **{str(limit): ("tpe", limit) for limit in options.limits},
        "none": ("tpe", _NO_LIMIT),
    }
    found: dict[str, list[Found]] = {name: [] for name in searches}
    for seed in range(options.seeds):
        for landscape in _landscapes(seed).values():
            for name, (sampler, limit) in searches.items():
                found[name].append(search(landscape, sampler, limit, seed, options))
    return {name: _figures(results, found["none"]) for name, results in found.items()}


def _figures(found: Sequence[Found], whole: Sequence[Found]) -> dict[str, Any]:
    pairs = list(zip(found, whole, strict=True))
    return {
        "best": _mean([some.best for some in found]),
        "late": _mean([some.late for some in found]),
        "best_more": _mean([some.best - every.best for some, every in pairs]),
        "late_more": _mean([some.late - every.late for some, every in pairs]),
        "draw_ms": median(some.draw_ms for some in found),
    }


def _mean(values: list[float]) -> dict[str, float]:
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": fmean(values), "error": error}


if __name__ == "__main__":
    main()

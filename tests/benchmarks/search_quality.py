"""Which samplers and pruners find a good setting with the fewest epochs, on recorded trials.

`python -m tests.benchmarks.search_quality --json` runs sweeps on the table of real small trials in
`search_trials.parquet`: samplers alone, pruners with random draws and with TPE, and a warm start
beside a cold one. A sweep sees trials of one seed. What it is judged by is the mean over seeds of
the trial that it would crown: regret is how far that is below the best point, in SumR, after equal
numbers of epochs trained. Before any trial is complete it is that of a point taken blindly.
Intervals (95 %, bootstrap) are of the mean over replays; differences are paired by replay.
`fresh_` differences are judged by the seeds alone that the sweep has not seen.

`--record FILE` trains the table; `--store` names that of `tvr_mini`.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from orchestrator.spec.loading import read_spec
from orchestrator.spec.start import Start
from orchestrator.spec.sweep_spec import SweepSpec
from tests.benchmarks.measure import arguments, ended, show
from tests.benchmarks.recorded_trials import (
    SYNTHETIC,
    TABLE,
    TVR_MINI,
    RecordedTrials,
    memory,
)
from tests.benchmarks.recording import record
from tests.benchmarks.replayed_sweep import replay

_RANDOM, _DEFAULT = "random", "tpe"
_SAMPLERS = (_RANDOM, "qmc", "tpe", "gp")
_NUMBER_SAMPLERS = (_RANDOM, "tpe", "cmaes")
_PRUNERS = ("asha", "median", "hyperband")
_PRUNED = (_RANDOM, "tpe")
# Epochs that a sweep trains: as many as 8, 16, 24 and 32 trials that run to their end.
_BUDGETS = (72, 144, 216, 288)
# A warm start, and the sweep before it.
_WARM_BUDGETS = (36, 72, 108, 144)
_EARLIER = max(_WARM_BUDGETS)
_RESAMPLES = 4000
# Seeds of sampling; sweeps before a warm start have others than those after it.
_FIRST_SEED, _EARLIER_SEED = 1, 100_001


@dataclass(frozen=True)
class Way:
    """A way to search: a sampler, a pruner and a space (of all parameters, or numbers alone)."""

    sampler: str
    pruner: str = "none"
    space: str = "all"

    @property
    def name(self) -> str:
        """Its name in the output."""
        return self.sampler if self.pruner == "none" else f"{self.sampler}+{self.pruner}"

    def spec(self, trials: RecordedTrials) -> SweepSpec:
        """A sweep of this way over the recorded space, without a seed."""
        overrides = [
            f"search.sampler={self.sampler}",
            # The epochs end it, not the number of trials.
            f"search.trials={len(trials.values)}",
            f"early_stopping.method={self.pruner}",
        ]
        return read_spec(trials.spec.dump_yaml(), overrides, trials.data, Path.cwd())


WAYS = (
    *(Way(sampler) for sampler in _SAMPLERS),
    *(Way(sampler, pruner) for sampler in _PRUNED for pruner in _PRUNERS),
    *(Way(sampler, space="numbers") for sampler in _NUMBER_SAMPLERS),
)


def seeded(spec: SweepSpec, name: str, seed: int, training_seed: int, **more: Any) -> SweepSpec:  # noqa: ANN401
    """A sweep with its name and seeds, and other sections."""
    assert spec.search is not None, "recorded sweeps search"
    search = spec.search.model_copy(update={"seed": seed})
    settings = {**spec.settings, "training.seed": training_seed}
    return spec.model_copy(update={"name": name, "search": search, "settings": settings, **more})


def regrets(way: Way, trials: RecordedTrials, replays: range) -> dict[str, Any]:
    """Regret of a way after each budget, a row for each replay, and what it did."""
    trials = trials if way.space == "all" else trials.numbers_alone()
    spec = way.spec(trials)
    rows, fresh, drawn, known = [], [], [], []
    begin = time.process_time()
    with tempfile.TemporaryDirectory(prefix="replay-", dir=memory()) as home:
        for number in replays:
            training_seed = trials.seeds[number % len(trials.seeds)]
            own = seeded(spec, f"replay-{number}", _FIRST_SEED + number, training_seed)
            sweep = replay(own, trials, Path(home), max(_BUDGETS))
            rows.append(trials.best - sweep.value_after(_BUDGETS, trials.truth))
            fresh.append(-sweep.value_after(_BUDGETS, trials.on_other_seeds(training_seed)))
            drawn.append(sweep.num_trials)
            known.append(sweep.num_taken)
    return {
        "way": way,
        "rows": np.array(rows),
        "fresh": np.array(fresh),
        "trials": float(np.mean(drawn)),
        "known_points": float(np.mean(known)),
        "replay_s": (time.process_time() - begin) / len(replays),
    }


def warm_and_cold(trials: RecordedTrials, replays: range) -> dict[str, Any]:
    """Regret of TPE with and without the trials of an earlier sweep, and of that sweep."""
    spec = Way(_DEFAULT).spec(trials)
    rows: dict[str, list[np.ndarray]] = {"earlier": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory(prefix="replay-", dir=memory()) as home:
        run = partial(replay, trials=trials, home=Path(home), budget_epochs=_EARLIER)
        for number in replays:
            training_seed = trials.seeds[number % len(trials.seeds)]
            name, seed = f"earlier-{number}", _FIRST_SEED + number
            before = seeded(spec, name, _EARLIER_SEED + number, training_seed)
            earlier = run(before, is_written=True)
            cold = run(seeded(spec, f"cold-{number}", seed, training_seed))
            start = Start.model_validate({"from": [name]})
            ours = seeded(spec, f"warm-{number}", seed, training_seed, start=start)
            warm = run(ours, known=earlier.known)
            for kind, sweep in (("earlier", earlier), ("cold", cold), ("warm", warm)):
                rows[kind].append(trials.best - sweep.value_after(_WARM_BUDGETS, trials.truth))
    return {"way": None, **{kind: np.array(found) for kind, found in rows.items()}}


def compare(
    trials: RecordedTrials, ways: Sequence[Way], options: argparse.Namespace
) -> dict[str, Any]:
    """All figures of a recorded table."""
    replays = range(options.replays)
    tasks = [partial(regrets, way, trials, replays) for way in ways]
    tasks.append(partial(warm_and_cold, trials, range(options.warm_replays)))
    found = {result["way"]: result for result in ended(tasks, options.processes)}
    warm = found.pop(None)
    kinds = ("earlier", "cold", "warm")
    return {
        "table": trials.figures(),
        **{
            space: _figures({way.name: found[way] for way in ways if way.space == space})
            for space in dict.fromkeys(way.space for way in ways)
        },
        "warm_start": {
            "budgets_epochs": _WARM_BUDGETS,
            **{kind: mean_of(warm[kind]) for kind in kinds},
            "below_cold": mean_of(warm["cold"] - warm["warm"]),
            "below_earlier": mean_of(warm["earlier"][:, -1:] - warm["warm"]),
        },
    }


def _figures(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Regret of each way, and how far it is below that of others, paired by replay."""
    figures = {}
    for name, result in found.items():
        others = {_RANDOM, _DEFAULT, name.partition("+")[0]} & found.keys() - {name}
        figures[name] = {
            "regret": mean_of(result["rows"]),
            **{
                f"{kind}below_{other}": mean_of(found[other][key] - result[key])
                for kind, key in (("", "rows"), ("fresh_", "fresh"))
                for other in sorted(others)
            },
            **{key: result[key] for key in ("trials", "known_points", "replay_s")},
        }
    return figures


def mean_of(rows: Float[np.ndarray, "replays budgets"]) -> list[dict[str, float]]:
    """Mean over replays after each budget, with its 95 % interval (bootstrap)."""
    chosen = np.random.default_rng(0).integers(len(rows), size=(_RESAMPLES, len(rows)))
    low, high = np.percentile(rows[chosen].mean(1), (2.5, 97.5), axis=0)
    return [
        {"mean": round(float(mean), 2), "low": round(float(a), 2), "high": round(float(b), 2)}
        for mean, a, b in zip(rows.mean(0), low, high, strict=True)
    ]


def main() -> None:
    """Record, or compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--data", nargs="+", default=[SYNTHETIC, TVR_MINI])
    parser.add_argument("--ways", nargs="+", help="names of samplers and pruners; default: all")
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--warm-replays", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--record", type=Path, metavar="FILE", help="train the table instead")
    parser.add_argument("--store", type=Path, help="for --record: tvr_mini")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="for --record")
    parser.add_argument("--points", type=int, help="for --record: the first ones of each data set")
    options = arguments(parser)
    if options.record:
        parts = options.seeds, options.processes, options.points
        record(options.record, options.store, *parts)
        return
    ways = [way for way in WAYS if not options.ways or way.name in options.ways]
    tables = {data: RecordedTrials.read(options.table, data) for data in options.data}
    found = {data: compare(trials, ways, options) for data, trials in tables.items()}
    show({"budgets_epochs": _BUDGETS, **found}, options)


if __name__ == "__main__":
    main()

"""How often tables of no effect call something real, and how often planted effects are found.

Run `python -m tests.calibration --json [--tables N] [--seed S]`. Null tables are raced from 3 to at
most 10 seeds and judged as a report would, over all comparisons; the scenario that fares worst
counts. Tables that get more seeds after they were judged, twice, are counted apart. Planted effects
are as large as the stated power, 0.8, asks for.

Tables over several data sets, which differ in noise, in size and in level, are counted in `joint`:
how often a mean over data sets is called real, and how often data sets are said to differ.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from orchestrator.statistics.comparison import Verdict, contrasts_of
from orchestrator.statistics.crossed import crossed_mean
from orchestrator.statistics.power import STATED_POWER, PairedVariance, power
from orchestrator.statistics.racing import Extension, Race
from orchestrator.statistics.several_data import JointTable, make_joint_table
from orchestrator.statistics.table import (
    LEVEL,
    ComparisonTable,
    make_table,
    seeds_of_next_look,
)
from tests.orchestrator.statistics.planted import PlantedRuns, World, planted_runs, shift_of

NUM_VARIANTS = 4
PILOTS = 200
FEWEST_TABLES = 10
# Seeds of a table that was judged twice and got more each time.
EXTENDED = (3, 6, 12)


@dataclass(frozen=True)
class Scenario:
    """A world and the seeds that are spent in it, raced where the two numbers differ."""

    world: World
    start: int = 3
    maximum: int = 10

    @property
    def race(self) -> Race:
        return Race.planned(self.start, self.maximum)


EVEN = World()
SCENARIOS = {
    "even": Scenario(EVEN),
    "seeds dominate": Scenario(
        replace(EVEN, variant_seed=0.2, variant_video=0.02, run_video=0.02, queries=6)
    ),
    "videos dominate": Scenario(replace(EVEN, variant_video=0.7, variant_seed=0.01, queries=6)),
    "tiny interaction": Scenario(
        replace(EVEN, query=1.95, seed_video=0.0, run_video=0.0, variant_video=0.1)
    ),
    "uneven seeds": Scenario(replace(EVEN, variant_seed=0.1, uneven=(0.2, 2.0, 0.5, 1.0))),
    "few videos": Scenario(replace(EVEN, videos=15)),
    "3 seeds": Scenario(replace(EVEN, variant_seed=0.1), 3, 3),
    "5 seeds": Scenario(replace(EVEN, variant_seed=0.1), 5, 5),
}


@dataclass(frozen=True)
class JointScenario:
    """A world for each data set, and the seeds that every row has on each."""

    worlds: tuple[World, ...]
    seeds: int = 5


_SEEDY = replace(EVEN, variant_seed=0.2, variant_video=0.02, run_video=0.02, queries=6)
JOINT = {
    "equal": JointScenario((replace(EVEN, variant_seed=0.1),) * 2),
    "noise differs": JointScenario((_SEEDY, replace(EVEN, variant_video=0.7, queries=6))),
    "seeds of one dominate": JointScenario((_SEEDY, EVEN, EVEN), 3),
    "levels differ": JointScenario((replace(_SEEDY, level=-1.5), replace(_SEEDY, level=2.0))),
    "sizes differ": JointScenario(
        (replace(_SEEDY, videos=15), replace(EVEN, variant_seed=0.1, videos=240))
    ),
    "four, 3 seeds": JointScenario(
        (_SEEDY, EVEN, replace(EVEN, level=2.0), replace(EVEN, variant_seed=0.1, videos=40)), 3
    ),
}


def raced(planted: PlantedRuns, race: Race) -> ComparisonTable:
    """The table at the end of a race over runs that are all there already."""
    names = [variant.name for variant in planted.runs]
    contrasts = contrasts_of(names, with_steps=True)
    asked = dict.fromkeys(names, race.looks[0])
    while True:
        runs = planted.first(asked)
        table = make_table(runs, planted.videos.counts, contrasts, race=race)
        more = seeds_of_next_look(runs, planted.videos.counts, table)
        if not more:
            return table
        asked.update(more)


def false_rate(scenario: Scenario, tables: int, generator: np.random.Generator) -> float:
    """Share of null tables that call anything real or worse."""

    def is_false() -> bool:
        runs = planted_runs(scenario.world, [0.0] * NUM_VARIANTS, scenario.maximum, generator)
        found = raced(runs, scenario.race).comparisons
        return any(comparison.verdict is not Verdict.NOT_SHOWN for comparison in found)

    return fmean(is_false() for _ in range(tables))


def extended_rate(world: World, tables: int, generator: np.random.Generator) -> float:
    """Share of null tables that call anything real at one of the looks that seeds were added at."""

    def is_false() -> bool:
        planted = planted_runs(world, [0.0] * NUM_VARIANTS, EXTENDED[-1], generator)
        names = [variant.name for variant in planted.runs]
        contrasts = contrasts_of(names, with_steps=True)
        return any(
            comparison.verdict is not Verdict.NOT_SHOWN
            for look, seeds in enumerate(EXTENDED)
            for comparison in make_table(
                planted.first(dict.fromkeys(names, seeds)),
                planted.videos.counts,
                contrasts,
                extension=Extension(EXTENDED[:look]) if look else None,
            ).comparisons
        )

    return fmean(is_false() for _ in range(tables))


def true_spread(world: World, num_seeds: int, generator: np.random.Generator) -> PairedVariance:
    """PairedVariance of a paired difference, averaged over many tables."""

    def pilot() -> tuple[float, float]:
        planted = planted_runs(world, [0.0, 0.0], num_seeds, generator)
        totals = planted.runs[1].totals - planted.runs[0].totals
        found = crossed_mean(totals, planted.videos.counts)
        return found.seed_variance, found.video_variance

    seeds, videos = np.mean([pilot() for _ in range(PILOTS)], axis=0)
    return PairedVariance(float(seeds), float(videos), world.videos)


def effect_of_power(spread: PairedVariance, num_seeds: int, level: float) -> float:
    """The difference that is shown with the stated power."""
    low, high = 0.0, 100.0
    for _ in range(15):
        middle = (low + high) / 2
        enough = power(middle, spread, num_seeds, level) >= STATED_POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def found_rate(
    scenario: Scenario, tables: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Share of tables that call a planted effect real, and its size in points of SumR.

    The effect is planted in the last variant and asked for against the baseline.
    """
    seeds, last = scenario.maximum, f"v{NUM_VARIANTS - 1}"
    comparisons = len(contrasts_of(["any"] * NUM_VARIANTS, with_steps=True))
    level = LEVEL * scenario.race.share(seeds) / comparisons
    effect = effect_of_power(true_spread(scenario.world, seeds, generator), seeds, level)
    shifts = [0.0] * (NUM_VARIANTS - 1) + [shift_of(effect)]

    def is_found() -> bool:
        table = raced(planted_runs(scenario.world, shifts, seeds, generator), scenario.race)
        return table.of(last, "v0").verdict is Verdict.REAL

    return fmean(is_found() for _ in range(tables)), effect


def joint_table(
    scenario: JointScenario, effects: Mapping[int, float], generator: np.random.Generator
) -> JointTable:
    """A table over data sets; the last variant gains the effect, in SumR, named for each of them.

    Args:
        scenario: The data sets.
        effects: Points of SumR by place of the data set; none for one that is not named.
        generator: Draws the runs.
    """
    runs, counts = {}, {}
    for place, world in enumerate(scenario.worlds):
        shift = shift_of(effects.get(place, 0.0), world.level)
        shifts = [0.0] * (NUM_VARIANTS - 1) + [shift]
        planted = planted_runs(world, shifts, scenario.seeds, generator)
        runs[str(place)], counts[str(place)] = planted.runs, planted.videos.counts
    names = [variant.name for variant in runs["0"]]
    return make_joint_table(runs, counts, contrasts_of(names, with_steps=True))


def joint_false_rates(
    scenario: JointScenario, tables: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Shares of null tables that call a mean real, and that say data sets differ."""
    found = [joint_table(scenario, {}, generator).comparisons for _ in range(tables)]
    means = fmean(any(each.verdict is not Verdict.NOT_SHOWN for each in table) for table in found)
    return means, fmean(
        any(each.between is not None and each.between.is_shown for each in table) for table in found
    )


def joint_found_rates(
    scenario: JointScenario, tables: int, generator: np.random.Generator
) -> dict[str, float]:
    """Power over data sets of an effect on all of them, and of a difference between them.

    The effect on all is as large as the stated power asks for if all seeds were those of one data
    set; that on the first alone, which shows that data sets differ, is twice that on two of them.
    """
    comparisons, count = len(contrasts_of(["any"] * NUM_VARIANTS, True)), len(scenario.worlds)
    spreads = [true_spread(world, scenario.seeds, generator) for world in scenario.worlds]
    spread = PairedVariance(
        sum(each.seed_variance for each in spreads) / count**2,
        sum(each.video_variance for each in spreads) / count**2,
        min(each.num_videos for each in spreads),
    )
    effect = effect_of_power(spread, scenario.seeds, LEVEL / comparisons)
    last, places = f"v{NUM_VARIANTS - 1}", range(count)
    real, alone, falsely, between = 0, 0, 0, 0
    for _ in range(tables):
        table = joint_table(scenario, dict.fromkeys(places, effect), generator)
        asked = next(each for each in table.comparisons if each.contrast.variant == last)
        real += asked.verdict is Verdict.REAL
        alone += table.of_data["0"].of(last, "v0").verdict is Verdict.REAL
        falsely += any(each.between and each.between.is_shown for each in table.comparisons)
        uneven = joint_table(scenario, {0: count * effect}, generator).comparisons
        asked = next(each for each in uneven if each.contrast.variant == last)
        between += asked.between is not None and asked.between.is_shown
    return {
        "effect": round(effect, 2),
        "power": real / tables,
        "power_of_first_alone": alone / tables,
        "differ_rate_of_equal_effects": falsely / tables,
        "differ_power": between / tables,
    }


def calibrate_joint(tables: int, generator: np.random.Generator) -> dict[str, object]:
    """Rates over several data sets: the worst of the scenarios first, and what is found."""
    rates = {name: joint_false_rates(each, tables, generator) for name, each in JOINT.items()}
    worst, differ = (max(rates, key=lambda name: rates[name][k]) for k in range(2))
    return {
        "false_real_rate": rates[worst][0],
        "worst": worst,
        "false_differ_rate": rates[differ][1],
        "worst_differ": differ,
        "false_rates": rates,
        **joint_found_rates(JOINT["levels differ"], tables, generator),
    }


def calibrate(tables: int, seed: int) -> dict[str, object]:
    """Rates of all scenarios, the worst of them first, with Monte-Carlo errors."""
    generator = np.random.default_rng(seed)
    rates = {name: false_rate(scenario, tables, generator) for name, scenario in SCENARIOS.items()}
    worst = max(rates, key=lambda name: rates[name])
    fixed, effect = found_rate(SCENARIOS["5 seeds"], tables, generator)
    race, raced_effect = found_rate(SCENARIOS["even"], tables, generator)
    extended = extended_rate(SCENARIOS["seeds dominate"].world, tables, generator)
    return {
        "false_real_rate": rates[worst],
        "power": fixed,
        "n": tables,
        "false_real_error": _error(rates[worst], tables),
        "power_error": _error(fixed, tables),
        "stated_power": STATED_POWER,
        "effect": round(effect, 2),
        "power_raced": race,
        "effect_raced": round(raced_effect, 2),
        "false_real_rate_extended": extended,
        "limit_extended": Extension(EXTENDED[:-1]).chance(LEVEL),
        "worst": worst,
        "false_real_rates": rates,
        "joint": calibrate_joint(tables, np.random.default_rng([seed, 1])),
        "seed": seed,
    }


def _error(rate: float, tables: int) -> float:
    """Standard error of a rate."""
    return round(math.sqrt(rate * (1 - rate) / tables), 4)


def main() -> None:
    """Print the rates on one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000, help="null tables of each scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    chosen = parser.parse_args()
    if chosen.tables < FEWEST_TABLES:
        parser.error(f"--tables {chosen.tables}: a rate needs {FEWEST_TABLES} tables or more")
    found = calibrate(chosen.tables, chosen.seed)
    lines = [json.dumps(found)] if chosen.json else [f"{k}: {v}" for k, v in found.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Tables of no effect call nothing real, where a naive bootstrap would."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from orchestrator.statistics.comparison import Verdict, contrasts_of
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.table import against_fixed, holm
from tests.calibration import (
    EXTENDED,
    NUM_VARIANTS,
    SCENARIOS,
    Scenario,
    calibrate,
    extended_rate,
    false_rate,
)
from tests.orchestrator.statistics.planted import PlantedRuns, World, planted_runs

RESAMPLES, NAIVE_TABLES, TABLES = 50, 60, 150
HARD = Scenario(replace(World(), variant_seed=0.2, variant_video=0.2, queries=6), 5, 5)


def naive_p(differences: np.ndarray, generator: np.random.Generator) -> float:
    """P-value of a bootstrap of queries within seeds; `differences` are (seeds, queries)."""
    seeds, queries = differences.shape
    drawn = generator.integers(queries, size=(RESAMPLES, seeds, queries), dtype=np.int32)
    means = differences[np.arange(seeds)[:, None], drawn].mean(axis=(1, 2))
    return float(2 * norm.sf(abs(differences.mean()) / means.std(ddof=1)))


def is_naively_false(planted: PlantedRuns, generator: np.random.Generator) -> bool:
    """Whether the naive bootstrap, corrected over the table, calls anything real."""
    outcome = {
        variant.name: found for variant, found in zip(planted.runs, planted.outcomes, strict=True)
    }
    contrasts = contrasts_of(list(outcome), with_steps=True)
    pairs = (outcome[contrast.variant] - outcome[contrast.reference] for contrast in contrasts)
    corrected = holm([naive_p(pair, generator) for pair in pairs])
    return any(p_value is not None and p_value <= 0.05 for p_value in corrected)


def test_a_bootstrap_of_queries_within_seeds_would_fail_and_ours_does_not() -> None:
    generator = np.random.default_rng(6)
    tables = (
        planted_runs(HARD.world, [0.0] * NUM_VARIANTS, HARD.maximum, generator)
        for _ in range(NAIVE_TABLES)
    )
    naive = np.mean([is_naively_false(table, generator) for table in tables])
    assert naive > 0.15
    # 150 tables at a rate of 5 % exceed 9 % about twice in a hundred times; the seed is fixed.
    assert false_rate(HARD, TABLES, generator) <= 0.09


@pytest.mark.soak
def test_races_do_not_raise_the_rate() -> None:
    generator = np.random.default_rng(7)
    assert false_rate(SCENARIOS["uneven seeds"], TABLES, generator) <= 0.09


@pytest.mark.soak
def test_looks_that_were_added_keep_to_their_limit() -> None:
    generator = np.random.default_rng(8)
    world = SCENARIOS["seeds dominate"].world
    assert extended_rate(world, TABLES, generator) <= Extension(EXTENDED[:-1]).chance(0.05) + 0.04


@pytest.mark.soak
def test_what_has_no_seeds_is_judged_at_its_level() -> None:
    generator = np.random.default_rng(9)
    # The last two variants are fixed: their runs differ in nothing but their taste in videos.
    world = replace(World(), seed=0.0, seed_video=0.0, variant_seed=0.2, uneven=(1, 1, 1, 0, 0))
    false = 0
    for _ in range(TABLES):
        planted = planted_runs(world, [0.0] * 5, 3, generator)
        fixed = {variant.name: variant.totals[0] for variant in planted.runs[3:]}
        table = against_fixed(planted.runs[:3], fixed, planted.videos.counts)
        false += any(each.verdict is not Verdict.NOT_SHOWN for each in table.comparisons)
    assert false / TABLES <= 0.09


@pytest.mark.soak
def test_rates_over_hundreds_of_tables() -> None:
    found: dict[str, Any] = calibrate(tables=400, seed=0)
    assert found["false_real_rate"] <= 0.05
    assert found["false_real_rate_extended"] <= found["limit_extended"]
    for name in ("power", "power_raced"):
        assert found[name] >= found["stated_power"] - 2 * found["power_error"]


@pytest.mark.soak
def test_command_prints_one_line() -> None:
    command = [sys.executable, "-m", "tests.calibration", "--json", "--tables", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert found["n"] == 10
    assert {"false_real_rate", "power", "worst"} <= set(found)

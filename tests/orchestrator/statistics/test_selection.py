"""The optimism of a best value, against simulations whose truth is known."""

import numpy as np
import pytest

from orchestrator.statistics.selection import choose_best

VIDEOS = 60


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
def test_optimism_is_that_of_a_simulation(spread: float) -> None:
    generator = np.random.default_rng(5)

    def drawn() -> tuple[float, float]:
        truth = spread * generator.normal(size=(12, 1))
        found = choose_best(truth + generator.normal(size=(12, VIDEOS)), np.ones(VIDEOS))
        return found.optimism or 0.0, found.apparent - float(truth[found.chosen, 0])

    estimated, true = np.array([drawn() for _ in range(250)]).mean(axis=0)
    assert estimated == pytest.approx(true, abs=0.025)
    assert (true > 0.15) == (spread < 0.5)


def test_one_candidate_is_not_optimistic() -> None:
    found = choose_best(np.arange(12.0)[None], np.ones(12))
    assert found.optimism == pytest.approx(0)


def test_one_video_says_nothing_of_others() -> None:
    found = choose_best(np.array([[1.0], [3.0], [3.0]]), np.ones(1))
    assert (found.chosen, found.apparent, found.optimism) == (1, 3.0, None)

"""Who is the best of configurations that ran on several seeds."""

from orchestrator.statistics.ranking import by_mean


def order(*groups: tuple[float, ...], maximize: bool = True) -> list[tuple[float, ...]]:
    return [tuple(group) for group in by_mean(groups, float, maximize=maximize)]


def test_the_best_mean_comes_first() -> None:
    assert order((1.0, 5.0), (4.0, 4.0), (9.0, 0.0)) == [(9.0, 0.0), (4.0, 4.0), (1.0, 5.0)]
    assert order((1.0, 5.0), (4.0, 4.0), maximize=False) == [(1.0, 5.0), (4.0, 4.0)]


def test_few_runs_are_behind_many() -> None:
    assert order((300.0,), (240.0, 241.0, 242.0)) == [(240.0, 241.0, 242.0), (300.0,)]
    assert order((1.0,), (2.0, 2.0), maximize=False) == [(2.0, 2.0), (1.0,)]


def test_nothing_complete_is_nowhere_and_equals_keep_their_order() -> None:
    assert order((), (1.0,)) == [(1.0,)]
    assert order((2.0, 0.0), (1.0, 1.0)) == [(2.0, 0.0), (1.0, 1.0)]

"""Packing against a slow search over all placements, and against careless placement."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.base.text import count, gib, in_words
from orchestrator.cluster.capacity import MemoryNeed, Node, Packing, TrialNeeds, pack

# What is left of a node: CPUs, of each GPU, memory, train_driver.
Left: TypeAlias = tuple[Fraction, tuple[Fraction, ...], Fraction, Fraction]

FRACTIONS = (0.1, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.7)
GIB = 2**30


def exact(number: float) -> Fraction:
    """The number that was meant: 0.1 is a tenth."""
    return Fraction(number).limit_denominator(1000)


def left_of(node: Node) -> Left:
    memory = Fraction(-1 if node.memory_bytes is None else node.memory_bytes)
    driver = exact(node.resources.get("train_driver", 0))
    return exact(node.cpus), (Fraction(1),) * int(node.gpus), memory, driver


def with_worker(left: Left, needs: TrialNeeds) -> Iterator[Left]:
    """What can be left of a node after one more worker; nothing where it has no room."""
    cpus, gpus, memory, driver = left
    takes = Fraction(needs.memory.total_bytes) if needs.memory and memory >= 0 else Fraction(0)
    if cpus < needs.cpus or takes > max(memory, 0):
        return
    after = (cpus - needs.cpus, memory - takes, driver)
    if needs.gpus >= 1:
        whole = sorted(gpus, reverse=True)[: int(needs.gpus)]
        if len(whole) == needs.gpus and all(candidate == 1 for candidate in whole):
            rest = tuple(sorted(gpus, reverse=True)[int(needs.gpus) :])
            yield after[0], rest + (Fraction(0),) * int(needs.gpus), after[1], after[2]
    elif needs.gpus:
        share = exact(needs.gpus)
        for place in range(len(gpus)):
            if gpus[place] >= share:
                rest = tuple(sorted([*gpus[:place], gpus[place] - share, *gpus[place + 1 :]]))
                yield after[0], rest, after[1], after[2]
    else:
        yield after[0], gpus, after[1], after[2]


def after_worker(state: tuple[Left, ...], needs: TrialNeeds) -> list[tuple[Left, ...]]:
    """Every way to place one more worker somewhere."""
    return [
        (*state[:place], changed, *state[place + 1 :])
        for place, left in enumerate(state)
        for changed in set(with_worker(left, needs))
    ]


def after_driver(state: tuple[Left, ...], needs: TrialNeeds, has: bool) -> list[tuple[Left, ...]]:
    """Every way to place a trial's driver; where no node offers its resource it takes nothing."""
    if needs.workers == 1 or not has:
        return [state]
    share = Fraction(1, 100)
    return [
        (*state[:place], (cpus, gpus, memory, driver - share), *state[place + 1 :])
        for place, (cpus, gpus, memory, driver) in enumerate(state)
        if driver >= share
    ]


def offers_drivers(nodes: Sequence[Node]) -> bool:
    return any("train_driver" in node.resources for node in nodes)


def most_trials(needs: TrialNeeds, nodes: Sequence[Node]) -> int:
    """The largest number of trials over all placements."""
    has = offers_drivers(nodes)

    @cache
    def best(state: tuple[Left, ...], placed: int) -> int:
        if placed == needs.workers:
            return 1 + max(
                (best(after, 0) for after in after_driver(state, needs, has)), default=-1
            )
        after = {tuple(sorted(one)) for one in after_worker(state, needs)}
        return max((best(one, placed + 1) for one in after), default=0)

    # A trial counts when its driver is placed as well.
    return best(tuple(sorted(map(left_of, nodes))), 0)


def carelessly_placed(needs: TrialNeeds, nodes: Sequence[Node], seed: int) -> int:
    """Trials that fit where each worker is put wherever it fits, by chance."""
    generator = random.Random(seed)
    state, trials = tuple(map(left_of, nodes)), 0
    while True:
        for step in range(needs.workers + 1):
            drivers = after_driver(state, needs, offers_drivers(nodes))
            options = drivers if step == 0 else after_worker(state, needs)
            if not options:
                return trials
            state = generator.choice(options)
        trials += 1


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    drivers = draw(st.sampled_from([None, None, 0.0, 0.01, 0.025, 1.0]))
    return Node(
        cpus=draw(st.integers(0, 4)),
        gpus=draw(st.integers(0, 2)),
        memory_bytes=draw(st.none() | st.integers(0, 5)),
        resources={} if drivers is None else {"train_driver": drivers},
    )


@st.composite
def trials(draw: st.DrawFn) -> TrialNeeds:
    workers = draw(st.integers(1, 3))
    gpus = draw(st.sampled_from([0.0, 1.0, 2.0, *(FRACTIONS if workers == 1 else ())]))
    memory = draw(st.none() | st.integers(1, 3).map(MemoryNeed))
    return TrialNeeds(workers, draw(st.integers(1, 3)), gpus, memory)


@settings(max_examples=400)
@given(trials(), st.lists(nodes(), min_size=1, max_size=3))
def test_it_is_the_best_of_all_placements(needs: TrialNeeds, cluster: list[Node]) -> None:
    packing = pack(needs, cluster)
    assert (packing.trials if packing else 0) == most_trials(needs, cluster)


@given(trials(), st.lists(nodes(), min_size=1, max_size=4), st.integers(0, 1000))
def test_no_placement_has_room_for_less(needs: TrialNeeds, cluster: list[Node], seed: int) -> None:
    """Ray starts trials in any order and puts them anywhere: what was promised still fits."""
    packing = pack(needs, cluster)
    assert (packing.trials if packing else 0) == carelessly_placed(needs, cluster, seed)


@given(trials(), st.lists(nodes(), min_size=1, max_size=4))
def test_what_is_placed_is_whole_and_fits(needs: TrialNeeds, cluster: list[Node]) -> None:
    packing = pack(needs, cluster)
    if packing is None:
        return
    assert all(sum(trial) == needs.workers for trial in packing.placed)
    for node, workers in zip(cluster, packing.workers, strict=True):
        assert workers <= needs.slots_on(node)
        state: tuple[Left, ...] = (left_of(node),)
        for _ in range(workers):
            # With fractions every GPU is as good as another.
            state = after_worker(state, needs)[0]


def placed(packing: Packing | None) -> tuple[tuple[int, ...], ...]:
    assert packing is not None
    return packing.placed


def test_a_trial_lies_on_one_node_where_it_can() -> None:
    cluster = [Node(4), Node(2), Node(3)]
    assert placed(pack(TrialNeeds(workers=3), cluster)) == ((0, 0, 3), (3, 0, 0), (1, 2, 0))


@pytest.mark.parametrize(
    ("needs", "node", "expected"),
    [
        (TrialNeeds(), Node(2), 2),
        (TrialNeeds(cpus=2), Node(7), 3),
        (TrialNeeds(gpus=1), Node(16, 3), 3),
        (TrialNeeds(gpus=2), Node(16, 5), 2),
        (TrialNeeds(gpus=0.5), Node(16, 3), 6),
        (TrialNeeds(gpus=0.4), Node(16, 3), 6),  # twice on each GPU, never across two
        (TrialNeeds(gpus=0.1), Node(64, 1), 10),
        (TrialNeeds(gpus=1 / 3), Node(64, 1), 3),
        (TrialNeeds(gpus=0.7), Node(16, 4), 4),
        (TrialNeeds(cpus=4, gpus=0.25), Node(8, 1), 2),
        (TrialNeeds(memory=MemoryNeed(GIB)), Node(16, 0, 3 * GIB), 3),
        (TrialNeeds(workers=2, gpus=1), Node(16, 5), 2),
        (TrialNeeds(workers=2), Node(8, 0, None, "n", {"train_driver": 0.03}), 3),
        (TrialNeeds(workers=2), Node(64, 0, None, "n", {"train_driver": 0.29}), 29),
        (TrialNeeds(workers=1), Node(8, 0, None, "n", {"train_driver": 0.03}), 8),
    ],
)
def test_how_many_trials_fit_on_one_node(needs: TrialNeeds, node: Node, expected: int) -> None:
    packing = pack(needs, [node])
    assert packing is not None
    assert packing.trials == expected
    assert not packing.is_tight


def test_estimated_memory_may_be_too_high_but_not_by_any_factor() -> None:
    needs = TrialNeeds(memory=MemoryNeed(GIB, GIB // 4, 12, is_estimate=True))
    tight = pack(needs, [Node(8, 0, 3 * GIB)])
    assert tight is not None
    assert (tight.trials, tight.is_tight) == (1, True)
    assert tight.bundle == {"CPU": 1, "memory": 2 * GIB}
    assert pack(needs, [Node(8, 0, GIB)]) is None
    stated = replace(needs, memory=MemoryNeed(4 * GIB))
    assert pack(stated, [Node(8, 0, 3 * GIB)]) is None


def test_what_is_asked_of_ray() -> None:
    needs = TrialNeeds(2, 3, 1.0, MemoryNeed(GIB))
    packing = pack(needs, [Node(8, 2, 4 * GIB)])
    assert packing is not None
    assert packing.bundle == {"CPU": 3, "GPU": 1, "memory": GIB}
    unknown = pack(needs, [Node(8, 2, 4 * GIB), Node(8)])
    assert unknown is not None
    assert unknown.bundle == {"CPU": 3, "GPU": 1}


def test_this_machine() -> None:
    here = Node.here()
    assert here.cpus >= 1
    assert here.memory_bytes is not None


def test_words() -> None:
    assert [count(one, "GPU") for one in (0, 0.5, 1, 2)] == ["0 GPUs", "0.5 GPU", "1 GPU", "2 GPUs"]
    assert gib(1.5 * GIB) == "1.5 GiB"
    asked = {"CPU": 2, "GPU": 1, "memory": 1.5 * GIB}
    assert in_words(asked) == "2 CPUs, 1 GPU and 1.5 GiB of memory"
    assert in_words({"train_driver": 0.01}) == "0.01 train_driver"

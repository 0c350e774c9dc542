"""What can never fit is refused with the reason and the nearest setting that would fit."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.base.errors import SpecError
from orchestrator.cluster.capacity import MemoryNeed, Node, TrialNeeds, pack
from orchestrator.cluster.fitting import pack_or_refuse
from tests.orchestrator.cluster.test_capacity import GIB, nodes, trials

ESTIMATE = MemoryNeed(GIB, GIB // 8, 128, 2 * GIB, is_estimate=True)


def problems(needs: TrialNeeds, *cluster: Node) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        pack_or_refuse(needs, cluster)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize(
    ("needs", "cluster", "expected"),
    [
        (
            TrialNeeds(cpus=8),
            [Node(2)],
            "resources.cpus: a worker asks for 8 CPUs, this machine has 2; nearest that fits: "
            "cpus 2",
        ),
        (
            TrialNeeds(gpus=2),
            [Node(8, 1, name="a"), Node(8, name="b")],
            "resources.gpus: a worker asks for 2 GPUs, the largest node has 1; nearest that fits: "
            "gpus 1",
        ),
        (
            TrialNeeds(gpus=0.5),
            [Node(2)],
            "resources.gpus: a worker asks for 0.5 GPU, this machine has 0; nearest that fits: "
            "gpus 0",
        ),
        (
            TrialNeeds(workers=5, gpus=1),
            [Node(8, 3, name="a"), Node(8, 1, name="b")],
            "resources.workers: a trial asks for 5 workers with 1 CPU and 1 GPU, there is room "
            "for 4; nearest that fits: workers 4",
        ),
        (
            TrialNeeds(workers=3, cpus=3),
            [Node(8)],
            "resources.workers: a trial asks for 3 workers with 3 CPUs, there is room for 2; "
            "nearest that fits: workers 2, or cpus 2",
        ),
        (
            TrialNeeds(cpus=4, gpus=1),
            [Node(8, name="a"), Node(2, 1, name="b")],
            "resources: a worker asks for 4 CPUs and 1 GPU, no node has it all; nearest that "
            "fits: cpus 2",
        ),
        (
            TrialNeeds(memory=MemoryNeed(16 * GIB)),
            [Node(8, 0, int(7.96 * GIB))],
            "resources.memory_gib: a worker takes 16.0 GiB of memory, this machine has 8.0 GiB; "
            "nearest that fits: memory_gib 7.9",
        ),
        (
            TrialNeeds(memory=ESTIMATE),
            [Node(8, 0, 5 * GIB)],
            "training.batch_videos: a worker takes about 17.0 GiB of memory, this machine has "
            "5.0 GiB; nearest that fits: training.batch_videos 32",
        ),
        (
            TrialNeeds(memory=ESTIMATE),
            [Node(8, 0, GIB)],
            "training.batch_videos: a worker takes about 17.0 GiB of memory, this machine has "
            "1.0 GiB; no setting fits: use a larger machine",
        ),
        (
            TrialNeeds(workers=2, memory=ESTIMATE),
            [Node(8, 0, 9 * GIB)],
            "resources.workers: a trial asks for 2 workers with 1 CPU and about 17.0 GiB of "
            "memory, there is room for 1, since each takes about 17.0 GiB of memory; nearest "
            "that fits: workers 1",
        ),
        (
            TrialNeeds(workers=2),
            [Node(8, resources={"train_driver": 0.001})],
            "resources.workers: the driver of 2 workers takes 0.01 train_driver, no node has as "
            "much; nearest that fits: workers 1",
        ),
        (
            TrialNeeds(),
            [Node(0, name="a"), Node(0.5, name="b")],
            "resources.cpus: a worker asks for 1 CPU, the largest node has 0.5; no setting fits: "
            "use a larger machine",
        ),
    ],
)
def test_the_reason_and_what_would_fit(
    needs: TrialNeeds, cluster: list[Node], expected: str
) -> None:
    assert problems(needs, *cluster) == (expected,)


def test_all_shortages_are_named_with_one_way_out() -> None:
    found = problems(TrialNeeds(cpus=8, gpus=2), Node(4, name="a"), Node(3, 1, name="b"))
    assert found == (
        "resources.cpus: a worker asks for 8 CPUs, the largest node has 4; nearest that fits: "
        "cpus 3 and gpus 1",
        "resources.gpus: a worker asks for 2 GPUs, the largest node has 1; nearest that fits: "
        "cpus 3 and gpus 1",
    )


def test_what_fits_is_packed() -> None:
    assert pack_or_refuse(TrialNeeds(), [Node(3)]).trials == 3


@given(trials(), st.lists(nodes(), min_size=1, max_size=4))
def test_what_is_named_as_nearest_fits(needs: TrialNeeds, cluster: list[Node]) -> None:
    assume(pack(needs, cluster) is None)
    (advice,) = {text.split("; ")[-1] for text in problems(needs, *cluster)}
    if advice == "no setting fits: use a larger machine":
        # Bytes are shown in tenths of a GiB here, which rounds all of them to nothing.
        smallest = replace(needs, workers=1, cpus=1, gpus=0.0)
        assert needs.memory or pack(smallest, cluster) is None
        return
    for option in advice.removeprefix("nearest that fits: ").split(", or "):
        changes = {name: float(one) for name, one in re.findall(r"(\w+) ([\d.]+)", option)}
        whole = {name: int(value) for name, value in changes.items() if name != "gpus"}
        changed = replace(needs, **changes | whole)
        # Once a worker fits, there may be too few slots for all of them.
        assert pack(replace(changed, workers=1), cluster) is not None
        if "workers" in changes:
            assert pack(changed, cluster) is not None
            one_more = replace(changed, workers=changed.workers + 1)
            assert pack(one_more, cluster) is None

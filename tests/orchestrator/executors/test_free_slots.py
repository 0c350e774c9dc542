"""How many workers find a place on what is free."""

import pytest

from orchestrator.executors import ray_state

GIB = 2**30


@pytest.mark.parametrize(
    ("bundle", "slots"),
    [
        ({"CPU": 1}, 7),
        ({"CPU": 2}, 3),
        ({"CPU": 1, "GPU": 1}, 2),
        ({"CPU": 1, "memory": 2 * GIB}, 3),
        ({"CPU": 1, "memory": 5 * GIB}, 0),
    ],
)
def test_each_resource_of_a_node_limits_its_workers(
    bundle: dict[str, float], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {
        "one": {"CPU": 4.0, "GPU": 2.0, "memory": 4.0 * GIB, "node:one": 1.0},
        "two": {"CPU": 3.0, "memory": 3.0 * GIB},
        "all in use": {"object_store_memory": 1.0},
    }
    monkeypatch.setattr(ray_state, "available_resources_per_node", lambda: free)
    assert ray_state.free_slots(bundle) == slots

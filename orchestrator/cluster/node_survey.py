"""A look at each node of a cluster from a worker on it: clock, versions and GPUs."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.base.our_code import DEVICES, environment_with_our_code, module_command

# The quickest of a few exchanges bounds the difference of two clocks best.
_EXCHANGES = 7
_DEVICES_S = 120.0


def look_at_nodes(nodes: Sequence[tuple[str, str]], limit_s: float) -> list[dict[str, Any]]:
    """Look at nodes from a worker on each; busy ones as well, since it asks for no CPU.

    Args:
        nodes: Id and name of each.
        limit_s: Seconds to wait for all together.

    Returns:
        For each node `name` and either `error`, or `versions`, `present` (GPUs by `nvidia-smi`),
        `devices` (fields of `Devices`), `offset_s` and `uncertainty_s` of its clock against the
        caller's.
    """
    lookers = {name: _looker_on(key) for key, name in nodes}
    try:
        asked = {name: value.describe.remote() for name, value in lookers.items()}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit_s)
        return [{"name": name, **_look(lookers[name], asked[name])} for name in asked]
    finally:
        for looker in lookers.values():
            ray.kill(looker)


def clock_offset(
    ask: Callable[[], float], clock: Callable[[], float] = time.time
) -> tuple[float, float]:
    """How far another clock is ahead, in seconds, and how uncertain that is.

    Args:
        ask: Reads the other clock, at some moment during the call.
        clock: Reads the caller's clock.
    """
    readings = []
    for _ in range(_EXCHANGES):
        before = clock()
        other = ask()
        after = clock()
        readings.append(((after - before) / 2, other - (before + after) / 2))
    uncertainty_s, offset_s = min(readings)
    return offset_s, uncertainty_s


def ray_error_text(error: ray.exceptions.RayError) -> str:
    """Class and last line of what a task raised, or of Ray's own error where it never answered."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1]}" if lines else type(cause).__name__


class _Looker:
    """Runs on a node."""

    def describe(self) -> dict[str, Any]:
        from orchestrator.base.installation import package_versions
        from orchestrator.base.machine import installed_gpus

        return {
            "versions": package_versions(),
            "present": [gpu.name for gpu in installed_gpus()],
            "devices": _devices(),
        }

    def now(self) -> float:
        return time.time()


def _devices() -> str:
    """`Devices` as JSON: of all GPUs, though Ray hides them from a task that asks for none."""
    shown = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        module_command(DEVICES),
        capture_output=True,
        text=True,
        check=True,
        timeout=_DEVICES_S,
        env=environment_with_our_code(shown),
    )
    return done.stdout


def _looker_on(node: str) -> Any:  # noqa: ANN401
    where = NodeAffinitySchedulingStrategy(node, False)
    return ray.remote(_Looker).options(num_cpus=0, scheduling_strategy=where).remote()


def _look(looker: Any, described: Any) -> dict[str, Any]:  # noqa: ANN401
    try:
        found: dict[str, Any] = ray.get(described, timeout=0)
        offset_s, uncertainty_s = clock_offset(lambda: float(ray.get(looker.now.remote())))
    except ray.exceptions.GetTimeoutError:
        return {"error": "no answer in time"}
    except ray.exceptions.RayError as error:
        return {"error": ray_error_text(error)}
    return {**found, "offset_s": offset_s, "uncertainty_s": uncertainty_s}

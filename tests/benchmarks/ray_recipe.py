"""Ray's documented recipe, timed: a Tune function that builds a `TorchTrainer` with one worker.

Run by `sweep_overhead`, which sets a token: `python -m tests.benchmarks.ray_recipe TRIALS` prints
seconds of a trial.
"""

import sys
import tempfile
import time
from contextlib import redirect_stdout
from typing import Any

import ray
import ray.train
from ray import tune
from ray._private import services
from ray.train.torch import TorchTrainer


def main() -> None:
    """Measure and print."""
    trials = int(sys.argv[1])
    # What Ray and Tune print belongs on stderr; stdout is the result.
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(dir="/tmp") as folder:
        start_loopback_ray()
        try:
            start = time.perf_counter()
            _run_recipe(trials, folder)
            taken_s = time.perf_counter() - start
        finally:
            ray.shutdown()
    print(taken_s / trials)


def start_loopback_ray() -> None:
    """A Ray as it comes, except that it listens on loopback; the token is the environment's."""
    # Ray takes 127.0.0.1 for a mistake and would listen on the network.
    services.resolve_ip_for_localhost = str
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )


def _run_recipe(trials: int, folder: str) -> None:
    found = tune.Tuner(
        tune.with_resources(_recipe_trial, {"cpu": 1}),
        param_space={"storage": folder, "x": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    assert not found.errors, found.errors


def _recipe_trial(config: dict[str, Any]) -> None:
    TorchTrainer(
        _recipe_worker,
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(storage_path=config["storage"], name=f"x{config['x']}"),
    ).fit()


def _recipe_worker() -> None:
    for epoch in range(1, 4):
        ray.train.report({"epoch": epoch, "val/SumR": float(epoch)})


if __name__ == "__main__":
    main()

"""Every benchmark runs at a tiny size and prints its keys; nothing is asserted on seconds."""

import json
import subprocess
import sys
from typing import Any

import pytest

KEYS = {
    "train_step": ("step_s", "peak_rss_mb", "gemm_gflops", "gemm_fraction"),
    "angle_loss": ("ours_s", "differences_s", "speedup", "extra_mb", "gemm_gflops"),
    "input_pipeline": ("warm_ms_per_video", "cold_ms_per_video", "gemm_gflops"),
    "evaluate": ("total_s", "matmul_s", "ratio", "extra_mb", "gemm_gflops", "collapse_s"),
    "ddp_step": ("alone_s", "together_s", "speedup", "exchanged_mb_per_step"),
    "step_memory": ("predicted_peak_mb", "saved_mb", "parameters_mb", "gradients_mb", "moments_mb"),
}
TINY = {
    "train_step": "--videos 2 --captions 3 --dim 6 --hidden 8 --repeats 1",
    "angle_loss": "--captions 9 --teacher-dim 5 --student-dim 4 --repeats 1",
    "input_pipeline": "--videos 5 --max-frames 70 --dim 4 --captions 1 --batch 2 --epochs 1",
    "evaluate": "--queries 9 --videos 4 --clips 2 --frames 3 --hidden 8 --dim 6 --block 4",
    "ddp_step": "--videos 3 --captions 4 --dim 6 --hidden 8 --repeats 1",
    "step_memory": "--videos 2 --captions 3 --dim 6 --hidden 8",
    "growth": "--batches 2 3 --galleries 2 4 --queries 3 --hidden 8 --dim 6 --repeats 1",
}


def run(name: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", "--threads", "1", *more]
    done = subprocess.run([*command, *TINY[name].split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", KEYS)
def test_a_benchmark_prints_its_keys_and_sizes(name: str) -> None:
    found = run(name)
    for key in KEYS[name]:
        assert found[key] >= 0, key
    sizes = dict(zip(TINY[name].split()[::2], TINY[name].split()[1::2], strict=True))
    for option, value in sizes.items():
        assert str(found[option[2:].replace("-", "_")]) == value
    assert found["threads"] == 1
    assert found["torch"]


def test_the_baseline_of_the_angle_loss_computes_the_same() -> None:
    found = run("angle_loss")
    assert found["loss_error"] < 1e-5
    assert found["gradient_error"] < 1e-4


def test_shares_of_time_add_up() -> None:
    found = run("train_step", "--profile")["profile"]
    assert sum(found.values()) == pytest.approx(1, abs=0.01)
    assert found["products of rows with weights"] > 0


def test_growth_fits_an_exponent_to_every_figure() -> None:
    found = run("growth")
    assert [row["videos"] for row in found["train_step"]] == [2, 3]
    assert [row["videos"] for row in found["evaluate"]] == [2, 4]
    assert set(found["train_step_exponents"]) == {"step_s", "extra_mb"}
    assert set(found["evaluate_exponents"]) == {"total_s", "extra_mb"}


def test_the_memory_of_a_step_is_the_sum_of_its_kinds() -> None:
    found = run("step_memory")
    assert sum(found["at_peak_mb"].values()) == pytest.approx(found["predicted_peak_mb"])
    assert sum(found["saved_by_part_mb"].values()) == pytest.approx(found["saved_mb"])
    assert set(found["saved_by_part_mb"]) == {
        "clip_branch",
        "frame_branch",
        "caption_encoder",
        "losses",
    }
    # Two moments a parameter; priors lie beside the parameters and are not trained.
    assert found["moments_mb"] == pytest.approx(2 * found["gradients_mb"], rel=0.01)
    assert found["fits"]


@pytest.mark.integration
def test_the_benchmark_of_busy_cores_runs_real_trials() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.keeps_busy", "--json", "--threads", "1"]
    sizes = ["--trials", "2", "--epochs", "1"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["trained_s"] > 0
    assert found["ratio_with_start"] > found["ratio"] > 0

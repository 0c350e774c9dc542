"""Every benchmark runs at a tiny size and prints its keys; nothing is asserted on seconds."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch

from tests.benchmarks import measure
from tests.warm_process import run_warm

LIMIT_S = 600

KEYS = {
    "train_step": ("step_s", "peak_rss_mb", "gemm_gflops", "gemm_fraction"),
    "angle_loss": ("ours_s", "differences_s", "speedup", "extra_mb", "gemm_gflops"),
    "input_pipeline": ("warm_ms_per_video", "cold_ms_per_video", "gemm_gflops"),
    "evaluate": ("total_s", "matmul_s", "ratio", "extra_mb", "gemm_gflops", "collapse_s"),
    "ddp_step": ("alone_s", "together_s", "speedup", "exchanged_mb_per_step"),
    "extract": ("decoding_fps", "encoder_fps", "extraction_fps", "fraction_of_slower"),
    "step_memory": ("predicted_peak_mb", "saved_mb", "parameters_mb", "gradients_mb", "moments_mb"),
}
TINY = {
    "train_step": "--videos 2 --captions 3 --dim 6 --hidden 8 --repeats 1",
    "angle_loss": "--captions 9 --teacher-dim 5 --student-dim 4 --repeats 1",
    "input_pipeline": "--videos 5 --max-frames 70 --dim 4 --captions 1 --batch 2 --epochs 1",
    "evaluate": "--queries 9 --videos 4 --clips 2 --frames 3 --hidden 8 --dim 6 --block 4",
    "ddp_step": "--videos 3 --captions 4 --dim 6 --hidden 8 --repeats 1",
    "extract": "--size tiny --fps 0.5 --repeats 1 --waiting-fps 1000.0 --copies 1",
    "step_memory": "--videos 2 --captions 3 --dim 6 --hidden 8",
    "query": "--videos 3 6 --hidden 8 --clips 2 --frames 4 --queries 5 --repeats 1",
    "serve": "--videos 9 --queries 8 --clients 4 --alone 2 --rounds 2 --hidden 8 --clips 2",
    "growth": "--batches 2 3 --galleries 2 4 --queries 3 --hidden 8 --dim 6 --repeats 1",
}
# The one starts processes itself, the other decodes videos.
APART = ("ddp_step", "extract")


def main_of(arguments: list[str]) -> int:
    """Run a benchmark by its name, as `python -m` does; its yardstick is a single product."""
    sys.argv = arguments
    measure._GEMM_REPEATS, measure._GEMM_WARM_UPS = 1, 0
    import_module(f"tests.benchmarks.{arguments[0]}").main()
    return 0


def output_of(name: str, arguments: list[str]) -> str:
    """What a benchmark prints, in a process of its own."""
    done = run_warm(main_of, [name, *arguments], LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


def run(name: str, *more: str) -> dict[str, Any]:
    options = ["--json", "--threads", "1", *more, *TINY[name].split()]
    found: dict[str, Any] = json.loads(output_of(name, options))
    return found


@pytest.fixture
def in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Runs a benchmark that starts processes itself here, where these have their imports."""
    monkeypatch.setattr(measure, "_GEMM_REPEATS", 1)
    threads = torch.get_num_threads()

    def running(name: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [name, "--json", "--threads", "1", *TINY[name].split()])
        import_module(f"tests.benchmarks.{name}").main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    yield running
    torch.set_num_threads(threads)


def check(name: str, found: dict[str, Any]) -> None:
    """See that a benchmark's keys and sizes are there."""
    for key in KEYS[name]:
        assert found[key] >= 0, key
    sizes = dict(zip(TINY[name].split()[::2], TINY[name].split()[1::2], strict=True))
    for option, value in sizes.items():
        assert str(found[option[2:].replace("-", "_")]) == value
    assert found["threads"] == 1
    assert found["torch"]


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in KEYS if name not in APART])
def test_a_benchmark_prints_its_keys_and_sizes(name: str) -> None:
    check(name, run(name))


@pytest.mark.soak
def test_steps_of_several_workers_print_their_keys_and_sizes(
    in_this_process: Callable[[str], dict[str, Any]],
) -> None:
    check("ddp_step", in_this_process("ddp_step"))


@pytest.mark.soak
def test_an_extraction_prints_its_keys_and_sizes() -> None:
    check("extract", run("extract"))


def test_the_baseline_of_the_angle_loss_computes_the_same() -> None:
    found = run("angle_loss")
    assert found["loss_error"] < 1e-5
    assert found["gradient_error"] < 1e-4


@pytest.mark.soak
def test_shares_of_time_add_up() -> None:
    found = run("train_step", "--profile")["profile"]
    assert sum(found.values()) == pytest.approx(1, abs=0.01)
    assert found["products of rows with weights"] > 0


def warm(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """Runs a benchmark's command in a process that has its imports made."""
    _python, _module, name, *options = command
    printed = output_of(name.rpartition(".")[2], options)
    return subprocess.CompletedProcess(command, 0, printed)


def test_growth_fits_an_exponent_to_every_figure(
    in_this_process: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.benchmarks.growth.subprocess.run", warm)
    found = in_this_process("growth")
    assert [row["videos"] for row in found["train_step"]] == [2, 3]
    assert [row["videos"] for row in found["evaluate"]] == [2, 4]
    assert set(found["train_step_exponents"]) == {"step_s", "extra_mb"}
    assert set(found["evaluate_exponents"]) == {"total_s", "extra_mb"}


@pytest.mark.soak
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


def test_queries_are_measured_at_every_size(
    in_this_process: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.benchmarks.query.subprocess.run", warm)
    found = in_this_process("query")
    assert [row["videos"] for row in found["sizes"]] == [3, 6]
    assert set(found["exponents"]) == {"read_s", "one_s", "many_s"}
    for row in found["sizes"]:
        assert row["one_by_read"] == pytest.approx(row["one_s"] / row["read_s"])
        assert row["resident_mb"] > 0


@pytest.mark.soak
def test_the_benchmark_of_busy_cores_runs_real_trials() -> None:
    busy(output_of("keeps_busy", [*BUSY, "--executor", "inline"]))


BUSY = ["--json", "--threads", "1", "--trials", "2", "--epochs", "1"]


def busy(printed: str) -> None:
    found = json.loads(printed)
    assert found["trained_s"] > 0
    assert found["ratio_with_start"] > found["ratio"] > 0

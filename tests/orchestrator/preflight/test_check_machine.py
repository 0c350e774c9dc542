"""Ports, room and GPUs of this machine."""

import shutil
import socket
import subprocess
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.machine import Cpus, Memory
from orchestrator.preflight import check_devices as check_devices_module
from orchestrator.preflight.check_devices import check_devices, judge_devices
from orchestrator.preflight.check_machine import (
    check_cpus,
    check_limits,
    check_loopback,
    check_memory,
    check_space,
    check_ui_port,
)

Usage = namedtuple("Usage", "total used free")


def test_an_address_that_is_not_here() -> None:
    assert check_loopback().level == "ok"
    found = check_loopback("192.0.2.1")
    assert found.level == "problem"
    assert "192.0.2.1" in found.message


def test_a_taken_port_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = check_ui_port(port)
    assert found.level == "warning"
    assert f"prvr-sweep ui --port {port + 1}" in found.remedy


def test_little_room_for_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_space("scratch", tmp_path, 1, "files").level == "ok"
    assert check_space("scratch", tmp_path / "none", 1, "files").level == "problem"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2, 1, 2**20))
    found = check_space("scratch", tmp_path, 2**21, "files")
    assert (found.level, found.message) == ("problem", f"1 MiB free in {tmp_path} for files")


def test_little_memory_is_a_warning() -> None:
    found = check_memory(Memory(2**31, 2**30, is_limited=True))
    assert (found.level, found.message) == (
        "warning",
        "1.0 GiB of memory free of a limit of 2.0 GiB",
    )
    assert check_memory(Memory(2**36, 2**35, is_limited=False)).message == "32.0 GiB of memory free"


def test_less_than_a_cpu_is_a_warning() -> None:
    found = check_cpus(Cpus(8, 0.5))
    assert (found.level, found.message) == (
        "warning",
        "0.5 CPU of the machine's 8; trials will be slow",
    )
    assert check_cpus(Cpus(8, 2)).message == "2 CPUs of the machine's 8"
    assert check_cpus(Cpus(2, 2)).message == "2 CPUs"


@pytest.mark.parametrize(
    ("files", "processes", "level"),
    [(None, None, "ok"), (1024, 500, "ok"), (256, None, "warning"), (None, 20, "warning")],
)
def test_few_files_or_processes_are_a_warning(
    files: int | None, processes: int | None, level: str
) -> None:
    assert check_limits(files, processes).level == level


def devices(*gpus: str, cuda: str | None = "12.8", nccl: str | None = "2.27.3") -> dict[str, Any]:
    return {"torch": "2.13.0", "cuda": cuda, "gpus": gpus, "nccl": nccl}


def test_no_gpu_is_fine() -> None:
    (found,) = judge_devices("", (), devices(cuda=None, nccl=None), None)
    assert (found.level, found.message) == ("ok", "no GPU; trials run on CPUs")


def test_a_gpu_that_torch_was_not_built_for() -> None:
    (found,) = judge_devices("", ["A10G"], devices(cuda=None), None)
    assert found.level == "problem"
    assert "sees 0: it is built without CUDA" in found.message
    assert found.remedy == "install a CUDA build of torch"


def test_a_gpu_whose_driver_is_too_old() -> None:
    (found,) = judge_devices("node a: ", ["A10G", "A10G"], devices("A10G"), None)
    assert found.message == "node a: the machine has 2 GPU, torch 2.13.0 sees 1"
    assert "CUDA 12.8" in found.remedy


def test_gpus_that_were_hidden_on_purpose() -> None:
    (found,) = judge_devices("", ["A10G"], devices(), "")
    assert found.level == "ok"
    assert "1 hidden by CUDA_VISIBLE_DEVICES=" in found.message


def test_several_gpus_without_nccl() -> None:
    gpu, nccl = judge_devices("", ["A10G"] * 2, devices("A10G", "A10G", nccl=None), None)
    assert (gpu.level, nccl.level) == ("ok", "problem")
    assert "no NCCL" in nccl.message
    _, fine = judge_devices("", ["A10G"] * 2, devices("A10G", "A10G"), None)
    assert fine.message == "NCCL 2.27.3"


def test_torch_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.level for finding in check_devices()} == {"ok"}

    def fails(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "python", stderr="Traceback\nImportError: libcuda")

    monkeypatch.setattr(check_devices_module.subprocess, "run", fails)
    (found,) = check_devices()
    assert found.message == "torch does not start: ImportError: libcuda"

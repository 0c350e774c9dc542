"""What this process may use: CPUs, memory and GPUs, by affinity, control groups and CUDA."""

import json
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from orchestrator.base import cgroups, machine
from orchestrator.base.machine import (
    Gpu,
    allowed_cpus,
    available_cpus,
    memory,
    settle_user,
    visible_gpus,
)

UUIDS = ("GPU-8932f937-d72c", "GPU-8932aaaa-0001")
LISTED = f"""GPU 0: NVIDIA A100 (UUID: {UUIDS[0]})
  MIG 1g.5gb      Device  0: (UUID: MIG-42ad)
  MIG 2g.10gb     Device  1: (UUID: MIG-77fe)
GPU 1: NVIDIA H100 (UUID: {UUIDS[1]})"""


def test_hardware_is_json_without_a_gpu_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    machine.hardware.cache_clear()
    machine.installed_gpus.cache_clear()
    hardware = machine.hardware()
    machine.hardware.cache_clear()
    machine.installed_gpus.cache_clear()
    assert json.loads(json.dumps(hardware)) == hardware
    assert hardware["gpus"] == []
    assert hardware["cpus"] >= 1
    assert hardware["memory_bytes"] > 2**20
    assert hardware["cpu"]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A driver with an A100, which is parted, and an H100."""
    names = "NVIDIA A100\nNVIDIA H100"
    monkeypatch.setattr(machine, "output", lambda *words: LISTED if "-L" in words else names)
    monkeypatch.setattr(machine, "installed_gpus", machine.installed_gpus.__wrapped__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


A100, H100 = Gpu("0", "NVIDIA A100"), Gpu("1", "NVIDIA H100")


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        (None, (A100, H100)),
        ("1", (H100,)),
        ("1, 0", (H100, A100)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("1,-1,0", (H100,)),
        ("0,7,1", (A100,)),
        ("1,1", ()),
        (UUIDS[1], (H100,)),
        ("GPU-8932f", (A100,)),
        ("GPU-8932", ()),
        ("MIG-77fe", (Gpu("MIG-77fe", "NVIDIA A100 MIG 2g.10gb"),)),
        ("MIG-0000", ()),
    ],
)
def test_gpus_are_those_that_cuda_shows(
    two_gpus: pytest.MonkeyPatch, shown: str | None, seen: tuple[Gpu, ...]
) -> None:
    if shown is not None:
        two_gpus.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert visible_gpus() == seen


class Groups:
    """A machine's files of control groups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)

    def mount(self, *lines: str) -> None:
        text = "\n".join(f"30 23 0:26 {line}" for line in lines)
        (self.root / "proc/self/mountinfo").write_text(text + "\n")

    def member(self, *lines: str) -> None:
        (self.root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")

    def write(self, group: str, **files: str) -> None:
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def limits(groups: Groups) -> list[tuple[int, int]]:
    return [(limit.limit_bytes, limit.free_bytes) for limit in cgroups.memory_limits(groups.root)]


def test_version_2_and_every_group_above(groups: Groups) -> None:
    groups.mount("/ /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    groups.member("0::/jobs/job7")
    groups.write("sys/fs/cgroup/jobs", cpu__max="150000 100000", memory__max="max")
    groups.write(
        "sys/fs/cgroup/jobs/job7",
        cpu__max="max 100000",
        memory__max="1000",
        memory__current="700",
        memory__stat="anon 1\ninactive_file 100",
        pids__max="90",
        pids__current="50",
    )
    assert cgroups.cpu_quota(groups.root) == 1.5
    assert limits(groups) == [(1000, 400)]
    assert cgroups.process_limit(groups.root) == 40


def test_version_1_has_a_tree_for_each_controller(groups: Groups) -> None:
    groups.mount(
        "/ /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "/ /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    )
    groups.member("4:memory:/box", "2:cpu,cpuacct:/box")
    cpu = "sys/fs/cgroup/cpu,cpuacct/box"
    groups.write(cpu, cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    groups.write(
        "sys/fs/cgroup/memory/box",
        memory__limit_in_bytes="2000",
        memory__usage_in_bytes="500",
        memory__stat="cache 7\ntotal_inactive_file 200",
    )
    assert cgroups.cpu_quota(groups.root) == 0.5
    assert limits(groups) == [(2000, 1700)]
    groups.write(cpu, cpu__cfs_quota_us="-1")
    assert cgroups.cpu_quota(groups.root) is None


@pytest.mark.parametrize(
    ("begins", "member"), [("/docker/abc", "/docker/abc"), ("/", "/hidden/elsewhere"), ("/x", "/")]
)
def test_in_a_container_the_tree_begins_with_its_group(
    groups: Groups, begins: str, member: str
) -> None:
    groups.mount(f"{begins} /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    groups.member(f"0::{member}")
    groups.write("sys/fs/cgroup", cpu__max="200000 100000")
    assert cgroups.cpu_quota(groups.root) == 2


def test_kills_for_memory_are_counted_by_the_own_group_or_the_kernel(groups: Groups) -> None:
    assert cgroups.oom_kills(groups.root) == 0
    (groups.root / "proc/vmstat").write_text("nr_free_pages 7\noom_kill 5\n")
    assert cgroups.oom_kills(groups.root) == 5
    groups.mount("/ /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    groups.member("0::/job")
    groups.write("sys/fs/cgroup/job", memory__events="max 9\noom 2\noom_kill 1")
    assert cgroups.oom_kills(groups.root) == 1


def test_without_control_groups_there_is_no_limit(groups: Groups) -> None:
    assert cgroups.cpu_quota(groups.root) is None
    assert cgroups.memory_limits(groups.root) == ()
    assert cgroups.process_limit(groups.root) is None


@pytest.mark.parametrize(("quota", "cpus"), [(None, 4), (0.5, 1), (1.9, 1), (3.0, 3), (64.0, 4)])
def test_cpus_are_the_least_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert available_cpus() == cpus
    assert allowed_cpus().allowed == min(4, quota or 4)


def test_memory_is_the_least_of_machine_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = cgroups.MemoryLimit(2**20, 2**19)
    monkeypatch.setattr(cgroups, "memory_limits", lambda: (limit,))
    assert memory() == machine.Memory(2**20, 2**19, is_limited=True)
    monkeypatch.setattr(cgroups, "memory_limits", lambda: (cgroups.MemoryLimit(2**60, 0),))
    assert not memory().is_limited


def test_a_process_without_home_and_name_gets_both(monkeypatch: pytest.MonkeyPatch) -> None:
    known = pwd.getpwuid(os.getuid()).pw_dir
    environment = {"HOME": ""}
    settle_user(environment)
    assert environment == {"HOME": known}
    named = {"HOME": "/home/named"}
    settle_user(named)
    assert named == {"HOME": "/home/named"}
    nobody: dict[str, str] = {}
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    settle_user(nobody)
    assert nobody == {"HOME": f"{tempfile.gettempdir()}/prvr-home-1234567", "USER": "1234567"}

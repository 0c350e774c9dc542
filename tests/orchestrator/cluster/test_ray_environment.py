"""What Ray takes over from the environment, without a Ray that runs."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from orchestrator.base.errors import RayChangedError, RayFailedError
from orchestrator.cluster import attached_process
from orchestrator.cluster.attached_process import attached
from orchestrator.cluster.ray_environment import (
    direct_variables,
    environment,
    job_on_our_path,
    loading_ray,
    own_ray_variables,
    own_start,
)

# Each of them would lead a Ray of our own astray.
REDIRECTING = {
    "RAY_ADDRESS": "10.0.0.1:6379",
    "RAY_LOG_TO_STDERR": "1",
    "RAY_RUNTIME_ENV_HOOK": "no.such.hook",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "/nowhere"}, "metadata": {}}',
    "RAY_TMPDIR": "/nowhere",
    "RAY_USE_TLS": "1",
    "RAY_grpc_enable_http_proxy": "1",
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "key",
    "TUNE_RESULT_BUFFER_LENGTH": "100",
    "OMP_PROC_BIND": "true",
    "OMP_THREAD_LIMIT": "1",
    "KMP_AFFINITY": "compact",
    "BASH_ENV": "/etc/profile",
}
# A user's to say: about the machine, or a remedy for libraries that do not fit together.
USERS = {
    "RAY_memory_usage_threshold": "0.8",
    "RAY_memory_monitor_refresh_ms": "100",
    "RAY_worker_register_timeout_seconds": "600",
    "KMP_DUPLICATE_LIB_OK": "TRUE",
    "MKL_THREADING_LAYER": "GNU",
    "LD_PRELOAD": "",
    "TMPDIR": "/tmp",
}


def test_a_ray_of_our_own_takes_over_what_says_what_the_machine_bears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**REDIRECTING, **USERS, "OMP_NUM_THREADS": "64"}.items():
        monkeypatch.setenv(name, value)
    with environment(own_ray_variables(threads=3)):
        assert not REDIRECTING.keys() & os.environ.keys()
        assert {name: os.environ[name] for name in USERS} == USERS
        assert os.environ["OMP_NUM_THREADS"] == "3"
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert {name: os.environ[name] for name in REDIRECTING} == REDIRECTING
    assert os.environ["OMP_NUM_THREADS"] == "64"
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


@pytest.mark.parametrize("value", ["80%", "", "-1", "off"])
def test_what_ray_would_crash_on_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", value)
    with pytest.raises(RayFailedError) as caught:
        own_ray_variables(1)
    found = f"Ray does not start: found RAY_memory_usage_threshold={value!r}; allowed: a number; "
    assert str(caught.value).startswith(found)


def test_a_slip_in_a_variable_does_not_stop_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_LOG_MONITOR_MAX_OPEN_FILES", "many")
    with loading_ray():
        assert "RAY_LOG_MONITOR_MAX_OPEN_FILES" not in os.environ
    assert os.environ["RAY_LOG_MONITOR_MAX_OPEN_FILES"] == "many"


def test_an_import_that_fails_says_what_to_do() -> None:
    with pytest.raises(RayFailedError) as caught, loading_ray():
        raise ValueError("numpy.dtype size changed\nand more")
    assert str(caught.value) == (
        "Ray cannot be loaded: ValueError: numpy.dtype size changed; `prvr-sweep doctor` checks "
        "this machine; with --executor inline trials run in this process, without Ray"
    )
    with pytest.raises(RayChangedError), loading_ray():
        raise RayChangedError("ray._private.gone")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "corp"}, "corp,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    assert direct_variables() == {"no_proxy": after, "NO_PROXY": after}


_WRITES = """
import os
from orchestrator.cluster.ray_environment import _stdout_on_stderr
print("before")
with _stdout_on_stderr():
    os.write(1, b"from C++\\n")
    print("from Python")
print("after")
"""


def test_what_any_code_writes_to_stdout_goes_to_stderr() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRITES], capture_output=True, text=True, check=True
    )
    assert done.stdout == "before\nafter\n"
    assert done.stderr == "from C++\nfrom Python\n"


def test_workers_import_nothing_from_the_working_directory() -> None:
    assert job_on_our_path()._runtime_env_has_working_dir()


def test_uv_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import worker
    from ray._private.runtime_env import uv_runtime_env_hook

    monkeypatch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: ["uv", "run", "it"])
    monkeypatch.delenv("RAY_RUNTIME_ENV_HOOK", raising=False)
    with own_start():
        assert worker._maybe_modify_runtime_env({"env_vars": {}}, False) == {"env_vars": {}}


@pytest.mark.parametrize(("asked", "found"), [("10.0.0.2:1", "10.0.0.2:1"), ("auto", "other:2")])
def test_the_address_that_is_named_is_attached_to(
    monkeypatch: pytest.MonkeyPatch, asked: str, found: str
) -> None:
    calls = []
    ray = SimpleNamespace(init=lambda **options: calls.append(options), shutdown=lambda: None)
    monkeypatch.setattr(attached_process, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "other:2")
    with attached(asked):
        assert [call["address"] for call in calls] == [found]


# References in cycles, some from before, some that another thread makes all the time.
LEAVING = """
import logging, threading
import ray
from orchestrator.cluster.ray_environment import leave_ray

class Cycle:
    def __init__(self, reference):
        self.itself, self.reference = self, reference

def drop():
    while references:
        Cycle(references.pop())

ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20,
         log_to_driver=False, logging_level=logging.ERROR)
references = [ray.put(number) for number in range(30_000)]
for _ in range(5_000):
    Cycle(references.pop())
threading.Thread(target=drop, daemon=True).start()
leave_ray()
print("left")
"""


@pytest.mark.soak
def test_references_that_are_dropped_while_ray_ends_do_not_end_this_process() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr

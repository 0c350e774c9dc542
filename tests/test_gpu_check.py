"""The check of a GPU runs its parts, and says that there is none."""

import json
from typing import Any

import pytest
import torch

from tests import gpu_check

QUICK = ("conformance", "bfloat16", "answers")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--json"]) == 3
    assert tuple(capsys.readouterr()) == ("", "no CUDA device: nothing was checked\n")


def rehearsal(capsys: pytest.CaptureFixture[str], *names: str) -> dict[str, dict[str, Any]]:
    assert gpu_check.main(["--json", "--rehearse", "--only", *names]) == 0
    checks: dict[str, dict[str, Any]] = json.loads(capsys.readouterr().out)["checks"]
    assert list(checks) == list(names)
    return checks


def test_its_parts_run(capsys: pytest.CaptureFixture[str]) -> None:
    checks = rehearsal(capsys, *QUICK)
    assert checks["conformance"]["passed"]
    assert checks["answers"]["query_s"]


@pytest.mark.soak
def test_its_long_parts_run(capsys: pytest.CaptureFixture[str]) -> None:
    checks = rehearsal(capsys, *(name for name in gpu_check.CHECKS if name not in QUICK))
    assert checks["halves"]["trials"] == ["complete", "complete"]
    assert checks["workers"]["world"] == 2


def test_a_check_that_fails_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_: gpu_check.Bench) -> dict[str, Any]:
        raise RuntimeError("no kernel image")

    def lacks(_: gpu_check.Bench) -> dict[str, Any]:
        raise ModuleNotFoundError("none", name="ray")

    monkeypatch.setattr(gpu_check, "CHECKS", {"a": breaks, "b": lacks, "c": lambda _: {}})
    assert gpu_check.main(["--rehearse"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert checks["a"]["error"] == "RuntimeError: no kernel image"
    assert checks["b"]["skipped"] == "needs ray"
    assert "c" in checks

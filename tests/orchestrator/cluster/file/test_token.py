"""Where a cluster file may ask for a token, and which nodes it then lacks."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.file.token import token_problems
from tests.orchestrator.cluster.file.test_check import GPU, ONPREM, content

KEEPS_TOKEN = "echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"
STARTS = {
    "head_start_ray_commands": "ray start --head --dashboard-host=127.0.0.1",
    "worker_start_ray_commands": "ray start --address=$RAY_HEAD_IP:6379",
}


def without_token(path: Path) -> dict[str, Any]:
    """The shipped file, whose containers would start Ray without a token."""
    config = content(path)
    config["docker"]["run_options"] = []
    return config


def token_message(config: dict[str, Any]) -> str | None:
    """Nodes without a token as the message names them; empty: all, None: there are none."""
    found = [problem.message for problem in token_problems(config)]
    return found[0].partition("token")[2].partition(":")[0] if found else None


@pytest.mark.parametrize("path", [GPU, ONPREM], ids=lambda path: path.name)
def test_each_place_of_a_token_holds_for_some_nodes(path: Path) -> None:
    assert token_message(content(path)) is None
    assert token_message(without_token(path)) == ""
    for start, command in STARTS.items():
        config = without_token(path)
        config[start] = ["ray stop", f"export RAY_AUTH_MODE=token; {command}"]
        other = " for workers" if start.startswith("head") else " for the head"
        assert token_message(config) == other
        config["docker"]["worker_run_options"] = ["--env RAY_AUTH_MODE=token"]
        config["docker"]["head_run_options"] = ["--env", "RAY_AUTH_MODE='token'"]
        assert token_message(config) is None
    both = without_token(path) | {
        start: [f"RAY_AUTH_MODE=token {command}"] for start, command in STARTS.items()
    }
    assert token_message(both) is None


@pytest.mark.parametrize(
    ("commands", "missing"),
    [
        ({"setup_commands": [KEEPS_TOKEN]}, None),
        ({"head_setup_commands": [KEEPS_TOKEN]}, " for workers"),
        ({"worker_setup_commands": [KEEPS_TOKEN]}, " for the head"),
        # Gone with the shell of its command.
        ({"setup_commands": ["export RAY_AUTH_MODE=token"]}, ""),
        ({"head_start_ray_commands": ["export RAY_AUTH_MODE=token", "ray start --head"]}, ""),
        ({"worker_start_ray_commands": ["ray start; export RAY_AUTH_MODE=token"]}, ""),
    ],
)
def test_a_token_must_last_until_ray_starts(
    commands: dict[str, list[str]], missing: str | None
) -> None:
    assert token_message(without_token(GPU) | commands) == missing


def test_a_node_type_with_options_of_its_own_lacks_the_token() -> None:
    config = content(GPU)
    config["available_node_types"]["gpu-spot"]["docker"] = {"run_options": ["--ipc=host"]}
    assert token_message(config) == " for workers gpu-spot"
    config = without_token(GPU) | {"setup_commands": [KEEPS_TOKEN]}
    config["available_node_types"]["gpu-spot"]["worker_setup_commands"] = ["true"]
    assert token_message(config) == " for workers gpu-spot"

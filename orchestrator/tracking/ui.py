"""Starts MLflow's pages on the store that a home uses, in the foreground, on this machine only."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

from orchestrator.base.errors import TrackingError
from orchestrator.base.our_code import environment_with_our_code, module_command
from orchestrator.tracking.store import TrackingStore, load_mlflow, settle_mlflow

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
# uvicorn ends its workers within a second or two; a user who waits longer presses Ctrl-C again.
_END_TIMEOUT_S = 10.0
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler: TypeAlias = Callable[[int, FrameType | None], None]


def serve_ui(store: TrackingStore, port: int = DEFAULT_PORT) -> int:
    """Run MLflow's server on a store until it ends or a signal comes.

    Args:
        store: A database; an `mlflow server` shows its own pages.
        port: Port on 127.0.0.1.

    Returns:
        Exit code of the command: 0 after a signal, else the server's.

    Raises:
        TrackingError: The store is a server already, or the port is taken.
    """
    if store.is_server:
        raise TrackingError(
            f"{store.shown} is an MLflow server: open its own pages at that address"
        )
    check_port(port)
    server = subprocess.Popen(
        ui_command(store, port), env=_environment(), cwd="/", start_new_session=True
    )
    return _wait(server)


def ui_command(store: TrackingStore, port: int) -> list[str]:
    """Command line of MLflow's server for a database store."""
    command = [*module_command("mlflow"), "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", store.uri, "--workers", "1"]
    # Otherwise uvicorn logs a line for each file of each page.
    command += ["--uvicorn-opts", "--log-level warning"]
    if store.artifact_root is not None:
        # A run names the folder of its files; this folder is for files that the pages add.
        command += ["--default-artifact-root", store.artifact_root]
    return command


def page_addresses(store: TrackingStore, port: int = DEFAULT_PORT) -> dict[str, str]:
    """Addresses of our experiments' pages by name of the experiment; imports MLflow.

    MLflow 3.17 opens an experiment among prompts and traces, whatever the experiment's tag says,
    unless the address asks for runs and models. (Its switch "Model training" is remembered by
    the browser.)

    Args:
        store: Where the experiments are.
        port: Port on which `serve_ui` serves a database; an `mlflow server` has its own address.
    """
    load_mlflow()
    from orchestrator.tracking.writer import connect, experiment_ids

    base = store.uri if store.is_server else f"http://{HOST}:{port}"
    return {
        name: f"{base}/#/experiments/{identity}/runs?workflowType=machine_learning"
        for name, identity in sorted(experiment_ids(connect(store)).items())
    }


def check_port(port: int) -> None:
    """Refuse a port that something listens on.

    Raises:
        TrackingError: The port is taken, or this user may not use it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this too: a port with lingering closed connections counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TrackingError(
                f"port {port} on {HOST} cannot be used ({error.strerror}); another program, "
                "perhaps an earlier MLflow, listens on it: choose another port with --port"
            ) from error


def _environment() -> dict[str, str]:
    environment = environment_with_our_code()
    settle_mlflow(environment)
    # MLflow's job runner is for evaluations of language models and starts processes of its own.
    environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    return environment


def _wait(server: "subprocess.Popen[bytes]") -> int:
    """Wait for the server, pass signals on to it and leave none of its processes behind."""
    received: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        _signal_group(server, number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        code = server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end(server)
    return 0 if received else code


def _end(server: "subprocess.Popen[bytes]") -> None:
    _signal_group(server, signal.SIGTERM)
    try:
        server.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _signal_group(server, signal.SIGKILL)
        server.wait()


def _signal_group(server: "subprocess.Popen[bytes]", number: int) -> None:
    # The server leads a session of its own, so its group holds its processes and no other.
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        return

"""How to follow a sweep that runs as a job on a cluster: commands, in words and as data."""

import shlex
from typing import Any
from urllib.parse import urlsplit

from orchestrator.sweep.submit import Submitted, is_loopback

_DASHBOARD_PORT = 8265
_UI_PORT = 5000
_HEAD = "HEAD"


def follow_commands(sent: Submitted) -> dict[str, str]:
    """Commands by what they are for; HEAD stands for the head's name, as ssh knows it."""
    job, home = sent.job.identity, _home(sent.places.home)
    commands = {
        "follow": f"ray job logs --follow {job} --address {sent.address}",
        "state": f"ray job status {job} --address {sent.address}",
        "stop": f"ray job stop {job} --address {sent.address}",
        "status": f"prvr-sweep status {sent.sweep} --home {home}",
        "dashboard": _tunnel(_dashboard_port(sent)),
    }
    tracking = sent.places.tracking_uri
    server = urlsplit(tracking or "")
    if server.scheme in ("http", "https"):
        if is_loopback(server.hostname or ""):
            commands["mlflow"] = _tunnel(server.port or _UI_PORT)
        return commands
    named = f" --tracking-uri {shlex.quote(tracking)}" if tracking else ""
    commands["ui"] = f"prvr-sweep ui --home {home}{named}"
    commands["mlflow"] = _tunnel(_UI_PORT)
    return commands


def render_submission(sent: Submitted) -> str:
    """The state of the job and how to follow it."""
    commands = follow_commands(sent)
    lines = [
        _first_line(sent),
        *_earlier_lines(sent),
        f"  follow     {commands['follow']}",
        f"  state      {commands['state']}",
        f"  stop       {commands['stop']}",
        "             ends the sweep as Ctrl-C does: its study keeps all trials and checkpoints",
        f"on the head ({_HEAD} below), where the sweep keeps its home:",
        f"  status     {commands['status']}",
    ]
    if "ui" in commands:
        lines.append(f"  MLflow     {commands['ui']}")
    lines.append("dashboard and MLflow listen on the head's loopback; tunnels, from here:")
    lines.append(f"  dashboard  {commands['dashboard']}")
    lines.append("             (or `ray dashboard CLUSTER.yaml`, where `ray up` started it)")
    if "mlflow" in commands:
        lines.append(f"  MLflow     {commands['mlflow']}")
    else:
        lines.append(f"  MLflow     {sent.places.tracking_uri}")
    return "\n".join(lines)


def summary(sent: Submitted) -> dict[str, Any]:
    """The same as data."""
    return {
        "job": sent.job.identity,
        "sweep": sent.sweep,
        "address": sent.address,
        "sent": sent.is_new,
        "state": sent.job.state,
        "exit_code": sent.job.exit_code,
        "earlier": [
            {"job": job.identity, "state": job.state, "exit_code": job.exit_code}
            for job in sent.earlier
        ],
        "home": sent.places.home,
        "storage": sent.places.storage,
        "tracking_uri": sent.places.tracking_uri,
        "resume": _resume(sent),
        "commands": follow_commands(sent),
    }


def _first_line(sent: Submitted) -> str:
    job = sent.job.identity
    if sent.is_new:
        return f"sent: job {job} runs sweep {sent.sweep} on {sent.address}"
    state = f"{sent.job.state}{_code(sent.job.exit_code)}"
    return f"there already: job {job} is {state}; nothing was sent"


def _earlier_lines(sent: Submitted) -> list[str]:
    lines = [
        f"  before     job {job.identity} is {job.state}{_code(job.exit_code)}"
        for job in sent.earlier
    ]
    if (resume := _resume(sent)) is not None:
        lines += [
            "             trials had begun, and a launch refuses a study with trials; on the head",
            f"             {resume}",
            "             goes on with them",
        ]
    return lines


def _resume(sent: Submitted) -> str | None:
    """The command that goes on with what an earlier job began; None: none did."""
    if not sent.has_begun:
        return None
    return f"prvr-sweep resume {sent.sweep} --home {_home(sent.places.home)} --address auto"


def _code(code: int | None) -> str:
    return "" if code in (None, 0) else f" (exit code {code})"


def _dashboard_port(sent: Submitted) -> int:
    url = urlsplit(sent.address)
    # The head's own port is known only where it was named directly; by default they are equal.
    return url.port or _DASHBOARD_PORT


def _tunnel(port: int) -> str:
    return f"ssh -N -L {port}:127.0.0.1:{port} {_HEAD}"


def _home(home: str) -> str:
    """For a shell, which must still find the home folder in `~/`."""
    return f"~/{shlex.quote(home[2:])}" if home.startswith("~/") else shlex.quote(home)

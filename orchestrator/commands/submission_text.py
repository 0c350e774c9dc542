"""The commands that follow a submitted sweep, as text and as JSON."""

import shlex
from typing import Any
from urllib.parse import urlsplit

from orchestrator.sweep.submit import Submitted, is_loopback

_DASHBOARD_PORT = 8265
_UI_PORT = 5000
_HEAD = "HEAD"


def follow_commands(sent: Submitted) -> dict[str, str]:
    """Commands by purpose; HEAD stands for the head's name in ssh."""
    job, home = sent.job.identity, _home(sent.locations.home)
    commands = {
        "follow": f"ray job logs --follow {job} --address {sent.address}",
        "state": f"ray job status {job} --address {sent.address}",
        "stop": f"ray job stop {job} --address {sent.address}",
        "status": f"prvr-sweep status {sent.sweep} --home {home}",
        "dashboard": _tunnel(_dashboard_port(sent)),
    }
    tracking = sent.locations.tracking_uri
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
    lines.append("dashboard and MLflow listen on the head's loopback; to open tunnels from here:")
    lines.append(f"  dashboard  {commands['dashboard']}")
    lines.append("             (or `ray dashboard CLUSTER.yaml`, where `ray up` started it)")
    if "mlflow" in commands:
        lines.append(f"  MLflow     {commands['mlflow']}")
    else:
        lines.append(f"  MLflow     {sent.locations.tracking_uri}")
    return "\n".join(lines)


def summary(sent: Submitted) -> dict[str, Any]:
    """The same as JSON fields."""
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
        "home": sent.locations.home,
        "storage": sent.locations.storage,
        "tracking_uri": sent.locations.tracking_uri,
        "resume": _resume(sent),
        "commands": follow_commands(sent),
    }


def _first_line(sent: Submitted) -> str:
    job = sent.job.identity
    if sent.is_new:
        return f"sent: job {job} runs sweep {sent.sweep} on {sent.address}"
    state = f"{sent.job.state}{_code(sent.job.exit_code)}"
    return f"sent before: job {job} is {state}; nothing was sent now"


def _earlier_lines(sent: Submitted) -> list[str]:
    lines = [
        f"  before     job {job.identity} is {job.state}{_code(job.exit_code)}"
        for job in sent.earlier
    ]
    if (resume := _resume(sent)) is not None:
        lines += [
            "             trials had begun, and a launch refuses a study with trials; on the head",
            f"             {resume}",
            "             continues them",
        ]
    return lines


def _resume(sent: Submitted) -> str | None:
    """The command that continues trials of an earlier job; None if no job began any."""
    if not sent.has_begun:
        return None
    return f"prvr-sweep resume {sent.sweep} --home {_home(sent.locations.home)} --address auto"


def _code(code: int | None) -> str:
    return "" if code in (None, 0) else f" (exit code {code})"


def _dashboard_port(sent: Submitted) -> int:
    url = urlsplit(sent.address)
    # A tunnel hides the head's own port; by default both ends have the same one.
    return url.port or _DASHBOARD_PORT


def _tunnel(port: int) -> str:
    return f"ssh -N -L {port}:127.0.0.1:{port} {_HEAD}"


def _home(home: str) -> str:
    """Quoted for a shell, which must still expand `~/`."""
    return f"~/{shlex.quote(home[2:])}" if home.startswith("~/") else shlex.quote(home)

"""`prvr-sweep drain-agent`: runs beside Ray on machines that may be taken away."""

from dataclasses import dataclass
from datetime import datetime

import click

from orchestrator.cluster.spot_notices import METADATA_URL
from orchestrator.commands.options import given_as

_SECONDS = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True)
class DrainAgentOptions:
    """Options of `drain-agent`."""

    source: str
    metadata_url: str
    lead_seconds: float
    poll_seconds: float
    try_seconds: float
    wait_seconds: float
    address: str | None
    node_id: str | None


@click.command()
@click.option(
    "--source",
    type=click.Choice(["imds", "signal"]),
    default="imds",
    show_default=True,
    help="Where notices come from: EC2's metadata service, or SIGUSR1.",
)
@click.option(
    "--metadata-url",
    metavar="URL",
    default=METADATA_URL,
    show_default=True,
    help="Address of EC2's metadata service.",
)
@click.option(
    "--lead-seconds",
    type=_SECONDS,
    default=120,
    show_default=True,
    help="Time from SIGUSR1 until the machine is taken away.",
)
@click.option(
    "--poll-seconds",
    type=_SECONDS,
    default=5,
    show_default=True,
    help="Pause between two looks for a notice.",
)
@click.option(
    "--try-seconds",
    type=_SECONDS,
    default=20,
    show_default=True,
    help="Time limit of one attempt to reach Ray; a failed attempt is repeated.",
)
@click.option(
    "--wait-seconds",
    type=click.FloatRange(min=0),
    default=120,
    show_default=True,
    help="Time to wait for this machine's Ray to start.",
)
@click.option("--address", metavar="HOST:PORT", help="The node's cluster; default: the only one.")
@click.option("--node-id", metavar="ID", help="The node; default: the only one here.")
@given_as(DrainAgentOptions)
def drain_agent(options: DrainAgentOptions) -> int:
    """Drain this machine's Ray node when the machine is about to be taken away.

    Trials on a draining node save a checkpoint and continue on another node. The agent ends with
    the node's Ray, or on SIGTERM.
    """
    from orchestrator.cluster.drain_agent import DrainAgent, find_node
    from orchestrator.cluster.spot_notices import Ec2Notices, NoticeSource, SignalNotices

    notices: NoticeSource
    try:
        # First, because until then SIGUSR1 would end this process.
        notices = (
            SignalNotices(options.lead_seconds)
            if options.source == "signal"
            else Ec2Notices(options.metadata_url, _say)
        )
        node = find_node(options.address, options.node_id, options.wait_seconds)
        DrainAgent(node, notices, options.poll_seconds, options.try_seconds, _say).run()
    except KeyboardInterrupt:
        # `cli.main` turns SIGTERM into this; it is the normal end of an agent.
        _say("ended by SIGTERM or Ctrl-C")
    return 0


def _say(line: str) -> None:
    click.echo(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {line}", err=True)

"""`prvr-sweep drain-agent`: runs beside Ray on machines that may be taken away."""

from dataclasses import dataclass
from datetime import datetime

import click

from orchestrator.cluster.spot_notices import METADATA_URL
from orchestrator.commands.options import given_as

_SECONDS = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True)
class DrainAgentOptions:
    """What the agent is told."""

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
    help="Spot notices of EC2's metadata service, or SIGUSR1.",
)
@click.option(
    "--metadata-url",
    metavar="URL",
    default=METADATA_URL,
    show_default=True,
    help="Where EC2's metadata service answers.",
)
@click.option(
    "--lead-seconds",
    type=_SECONDS,
    default=120,
    show_default=True,
    help="How long after SIGUSR1 the machine goes.",
)
@click.option(
    "--poll-seconds",
    type=_SECONDS,
    default=5,
    show_default=True,
    help="Pause between two looks.",
)
@click.option(
    "--try-seconds",
    type=_SECONDS,
    default=20,
    show_default=True,
    help="Limit of one attempt to reach Ray; it is repeated.",
)
@click.option(
    "--wait-seconds",
    type=click.FloatRange(min=0),
    default=120,
    show_default=True,
    help="How long this machine's Ray may take to start.",
)
@click.option("--address", metavar="HOST:PORT", help="Cluster of the node; default: the only one.")
@click.option("--node-id", metavar="ID", help="The node; default: the only one of this machine.")
@given_as(DrainAgentOptions)
def drain_agent(options: DrainAgentOptions) -> int:
    """Drain this machine's Ray node when the machine is about to be taken away.

    Trials on a draining node save themselves and go on elsewhere. Ends with the node's Ray, or on
    SIGTERM.
    """
    from orchestrator.cluster.drain_agent import DrainAgent, find_node
    from orchestrator.cluster.spot_notices import Ec2Notices, NoticeSource, SignalNotices

    notices: NoticeSource
    try:
        # First, for until then SIGUSR1 would end this process.
        notices = (
            SignalNotices(options.lead_seconds)
            if options.source == "signal"
            else Ec2Notices(options.metadata_url, _say)
        )
        node = find_node(options.address, options.node_id, options.wait_seconds)
        DrainAgent(node, notices, options.poll_seconds, options.try_seconds, _say).run()
    except KeyboardInterrupt:
        # SIGTERM comes as an interrupt; it is how an agent is meant to end.
        _say("told to end")
    return 0


def _say(line: str) -> None:
    click.echo(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {line}", err=True)

"""Whether a store is sane, at the end of what makes a store or shows one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prvr_model.retrieval.sanity import StoreVerdict


def echo_verdict(store: Path) -> "StoreVerdict":
    """Judge a store that was made; the facts go to stdout, what is wrong to stderr."""
    from prvr_model.retrieval.sanity import judge
    from prvr_model.store.reader import FeatureStore

    verdict = judge(FeatureStore.open(store))
    click.echo("\n".join(["verdict:", *verdict.lines()]))
    for warning in verdict.warnings:
        click.echo(f"warning: {warning}", err=True)
    return verdict

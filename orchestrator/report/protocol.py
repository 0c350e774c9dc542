"""The label of `protocol: paper`, which every table of its numbers carries."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from orchestrator.report.document import Block, Table
from orchestrator.spec.sweep_spec import SweepSpec


def label_of(spec: SweepSpec) -> str:
    """What tables of a sweep are to say of its protocol; empty: nothing."""
    return "protocol paper: selected on this split" if spec.protocol == "paper" else ""


def labelled(blocks: Iterable[Block], label: str) -> Iterator[Block]:
    """The blocks, with the label in the caption of every table."""
    for one in blocks:
        if label and isinstance(one, Table):
            yield replace(one, caption=f"{one.caption} ({label})")
        else:
            yield one

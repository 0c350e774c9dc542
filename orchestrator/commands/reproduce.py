"""`prvr-sweep reproduce`: a trial once more, and whether the same comes out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.text import count, table_lines
from orchestrator.commands.options import (
    USER_LOCATION,
    given_as,
    home_option,
    json_option,
    tracking_option,
)
from prvr_model.files.location import is_uri

if TYPE_CHECKING:
    from orchestrator.sweep.epoch_comparison import EpochComparison
    from orchestrator.sweep.reproduce import Reproduction

_DIFFERS = 1


@dataclass(frozen=True)
class ReproduceOptions:
    """What a reproduction is told; None: the default."""

    trial: str
    home: Path
    tracking_uri: str | None
    epochs: int | None
    keep: str | None
    address: str | None
    as_json: bool


@click.command()
@home_option
@tracking_option
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="How many epochs, from the first on. Default: all that were recorded.",
)
@click.option(
    "--keep",
    type=USER_LOCATION,
    metavar="DIRECTORY",
    help="Keep checkpoints and ranks of this run there: an empty folder or a URI. Default: a "
    "temporary folder.",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Run on a Ray cluster; needs --keep with a location that all its nodes see. Default: this "
    "machine.",
)
@json_option
@click.argument("trial", metavar="SWEEP/NUMBER|RUN_ID")
@given_as(ReproduceOptions)
def reproduce(options: ReproduceOptions) -> int:
    """Run a trial of a sweep again, from its settings, data and seed, and compare each epoch.

    The trial is named by sweep and number, or by the id of its MLflow run. On a machine of the
    same kind all metrics must be equal bit for bit, elsewhere within a tolerance that is shown.
    Nothing of the sweep is changed. Exit code 1: it differs; 2: there is no such trial; 3: its
    data is gone or changed.
    """
    from orchestrator.sweep.reproduce import ReproduceRequest
    from orchestrator.sweep.reproduce import reproduce as run

    keep = options.keep
    request = ReproduceRequest(
        options.trial,
        options.home,
        options.tracking_uri,
        options.epochs,
        keep if keep is None or is_uri(keep) else str(Path(keep).resolve()),
        options.address,
    )
    found = run(request, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(found.to_dict()) if options.as_json else render_reproduction(found))
    return 0 if found.is_reproduced else _DIFFERS


# Longer tables are not read to their end; the JSON has every row.
_MAX_ROWS = 12


def render_reproduction(found: "Reproduction") -> str:
    """The verdict first, then the table of the first epoch that differs, then what was checked."""
    first = found.first_too_far
    lines = [f"{found.trial}: {_verdict(found)}", *(_table(first) if first else [])]
    for name, texts in _parts(found).items():
        labels = [name, *[""] * len(texts)]
        lines += [f"  {label:<9}  {text}" for label, text in zip(labels, texts, strict=False)]
    return "\n".join(lines)


def _verdict(found: "Reproduction") -> str:
    num, first, failure = len(found.epochs), found.first_too_far, found.failure
    if first is not None:
        share = f"{len(first.too_far)} of {first.num_compared} metrics"
        return f"DIFFERS from epoch {first.epoch} on, in {share} there"
    if not failure.is_same:
        return f"DIFFERS: failed then with {failure.then or 'nothing'}, now with " + (
            failure.now or "nothing"
        )
    epochs = count(num, "epoch")
    if num < found.wanted_epochs:
        return f"DIFFERS: ended after {epochs}, then after {found.wanted_epochs}"
    failed = ", and failed as it did then" if failure.then else ""
    if found.num_equal == num:
        return f"equal bit for bit in {epochs}{failed}"
    return f"within the tolerance in {epochs}, {found.num_equal} of them equal{failed}"


def _table(epoch: "EpochComparison") -> list[str]:
    rows = [("metric", "then", "now", "difference")]
    for difference in epoch.too_far[:_MAX_ROWS]:
        then, now = difference.then, difference.now
        by = "-" if then is None or now is None else f"{now - then:+.2g}"
        rows.append((difference.metric, _number(then), _number(now), by))
    more = len(epoch.too_far) - _MAX_ROWS
    return [
        *(f"  {line}" for line in table_lines(rows)),
        *([f"  and {more} more (--json has all)"] if more > 0 else []),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"


def _parts(found: "Reproduction") -> dict[str, list[str]]:
    from orchestrator.sweep.epoch_comparison import TOLERANCE

    then, now = found.results_version
    close = (
        f"within {TOLERANCE.relative:.0%}, recalls within {TOLERANCE.recall_points:g} points (SumR "
        f"{2 * TOLERANCE.recall_points:g}), in epoch 1 within {TOLERANCE.first_epoch:.0%} of that:"
    )
    expected = ["equal bit for bit"] if found.expectation == "equal" else [close, *found.reasons]
    return {
        "expected": expected,
        "data": [f"{found.data_fingerprint[:12]}, read through: as it was"],
        "seed": [str(found.seed)],
        "code": [
            found.code[1],
            f"numbers of version {now}, then of {then or 'none that is known'}",
        ],
        "changed": list(found.changes) or ["nothing: the same code and packages"],
        "epochs": [f"{len(found.epochs)} compared, {found.recorded_epochs} recorded"],
        "files": [found.folder] if found.folder else [],
    }

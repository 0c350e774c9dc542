"""`prvr-sweep evaluate`: what models score on feature stores, and how they differ."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    given_as,
    home_option,
    json_option,
    set_option,
    tracking_option,
)
from orchestrator.commands.written import format_option, output_option, write_out

if TYPE_CHECKING:
    from orchestrator.evaluation.matrix import Matrix
    from orchestrator.evaluation.subjects import SubjectOptions
    from orchestrator.tracking.store import TrackingStore


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation is told; None: the default."""

    models: tuple[str, ...]
    targets: tuple[str, ...]
    baseline: str | None
    transfer: bool
    track: bool
    preset: Any
    overrides: tuple[str, ...]
    device: str | None
    threads: int | None
    home: Path
    tracking_uri: str | None
    wanted: Any
    output: Path | None
    as_json: bool


@click.command()
@click.option(
    "--on",
    "targets",
    metavar="STORE[:SPLIT]",
    multiple=True,
    required=True,
    help="A feature store, and train, val or test; default: the last of these that it has. May be "
    "repeated.",
)
@click.option(
    "--baseline",
    metavar="MODEL",
    help="The one of the models that the others are compared with. Default: the first.",
)
@click.option(
    "--transfer",
    is_flag=True,
    help="Evaluate models also on features that were made in another way, if dimensions agree.",
)
@click.option("--track", is_flag=True, help="Log a run for each model on each store to MLflow.")
@click.option(
    "--preset",
    type=click.Choice(["tvr", "activitynet", "charades", "qvhighlights"]),
    help="Published settings of a released checkpoint; sizes are read from its weights.",
)
@set_option
@click.option(
    "--device", help="Device that computes, e.g. cuda. Default: cpu; of a trial, its sweep's."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads; another number may change last bits. Default: 1; of a trial, its sweep's.",
)
@home_option
@tracking_option
@format_option
@output_option
@json_option
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@given_as(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> None:
    """Score each MODEL on each store, and compare it with the first.

    MODEL is models:/NAME@champion, a trial SWEEP/NUMBER, an exported folder, a released checkpoint
    (*.ckpt, with --preset and --set for its settings), `frozen` (the largest cosine of the store's
    own features, no training) or `frozen:segments` (a stronger form of that). Nothing is written
    but what --track asks for. Exit code 2: there is no such model; 3: a model and a store do not
    fit, or a file is damaged.
    """
    from orchestrator.evaluation.matrix import Target
    from orchestrator.evaluation.matrix import evaluate as run
    from orchestrator.evaluation.subjects import find_subjects
    from orchestrator.tracking.store import TrackingStore

    tracking = TrackingStore.of(options.tracking_uri, options.home)
    targets = [Target.parse(text) for text in dict.fromkeys(options.targets)]
    matrix = run(
        find_subjects(options.models, _subject_options(options, tracking)),
        targets,
        options.baseline,
        transfer=options.transfer,
        say=lambda line: click.echo(line, err=True),
    )
    write_out(_text(matrix, "json" if options.as_json else options.wanted), options.output)
    if options.track:
        from orchestrator.evaluation.runs import evaluation_runs
        from orchestrator.tracking.evaluation_runs import EXPERIMENT, log_evaluations

        logged = log_evaluations(tracking, evaluation_runs(matrix), time.time_ns() // 1_000_000)
        click.echo(f"MLflow: {len(logged)} runs in the experiment {EXPERIMENT}", err=True)


def _text(matrix: "Matrix", wanted: Any) -> str:  # noqa: ANN401  (click has checked it)
    from orchestrator.evaluation.document import matrix_document
    from orchestrator.report.formats import render_document

    if wanted == "json":
        return json.dumps(matrix.to_dict()) + "\n"
    return render_document(matrix_document(matrix), wanted)


def _subject_options(options: EvaluateOptions, tracking: "TrackingStore") -> "SubjectOptions":
    from orchestrator.evaluation.subjects import SubjectOptions
    from orchestrator.spec.overrides import given_settings

    speed = {"device": options.device, "threads": options.threads}
    return SubjectOptions(
        options.home,
        tracking,
        options.preset,
        given_settings(options.overrides),
        {name: value for name, value in speed.items() if value is not None},
    )

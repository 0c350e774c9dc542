"""`prvr-sweep data`: makes and inspects feature stores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.extract import extract
from orchestrator.commands.import_progress import import_progress
from orchestrator.commands.options import USER_PATH, given_as
from orchestrator.commands.verdict import echo_verdict
from prvr_model.store.importers.layouts import AUTO, LAYOUTS

# Readers and writers are imported where they are used: `--help` must not wait for them.
if TYPE_CHECKING:
    from prvr_model.store.format import Manifest
    from prvr_model.store.synthetic import SyntheticSettings

_STORE = click.argument("store", type=USER_PATH)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing store.")


@click.group()
def data() -> None:
    """Make and inspect feature stores."""


data.add_command(extract)


@dataclass(frozen=True)
class ImportOptions:
    """Options of `data import`."""

    layout: str
    root: Path
    collection: str | None
    val_from_train: float | None
    skip_uncaptioned: bool
    video_features: str | None
    text_features: str | None
    captions: str | None
    join_pieces: bool
    trim_padding: bool
    allow: tuple[str, ...]
    moments: tuple[Path, ...]
    durations: Path | None
    relevance: tuple[Path, ...]
    overwrite: bool
    store: Path


@data.command("import")
@click.option(
    "--layout",
    metavar="NAME",
    default=AUTO,
    show_default=True,
    help=f"Layout of the files: {', '.join(LAYOUTS)}; auto: the only one that fits.",
)
@click.option(
    "--root",
    type=USER_PATH,
    required=True,
    help="Folder of the files, e.g. that holds COLLECTION/FeatureData or FeatureData.",
)
@click.option(
    "--collection",
    help="Name of the data set, with which file names begin. Default: the only one there.",
)
@click.option(
    "--val-from-train",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="FRACTION",
    help="Move this fraction of train to val; without a test split, the old val becomes test.",
)
@click.option(
    "--skip-uncaptioned",
    is_flag=True,
    help="Leave out videos that no caption file names; always done if a split is missing.",
)
@click.option(
    "--video-features",
    metavar="FILE",
    help="Feature file or folder of the videos, by name or by path. Default: the one that the "
    "layout names, or the only one there. moment-detr: names of folders, as in a,b.",
)
@click.option(
    "--text-features",
    metavar="FILE",
    help="Feature file or folder of the captions; default as above.",
)
@click.option(
    "--captions",
    metavar="FILE",
    help="table: the captions; moment-detr: folder of highlight_*_release.jsonl.",
)
@click.option(
    "--join-pieces",
    is_flag=True,
    help="moment-detr: join the pieces of each YouTube video in the order of their starts.",
)
@click.option(
    "--trim-padding", is_flag=True, help="Cut rows of zeros off the end of videos and captions."
)
@click.option(
    "--allow",
    multiple=True,
    metavar="FINDING",
    help="Import although it was found: zero-features, zero-sentence, repeated-rows, "
    "norms-differ; may be repeated.",
)
@click.option(
    "--moments",
    type=USER_PATH,
    multiple=True,
    metavar="FILE",
    help="Moments and lengths: TVR or QVHighlights JSON lines, ActivityNet JSON, Charades-STA "
    "text, or a table (CSV, JSON lines, Parquet) with video, caption, start, end; types of queries "
    "(TVR's type) are kept; may be repeated.",
)
@click.option(
    "--durations",
    type=USER_PATH,
    metavar="FILE",
    help="CSV file with id and length of each video; Charades' is found beside the moments.",
)
@click.option(
    "--relevance",
    type=USER_PATH,
    multiple=True,
    metavar="FILE",
    help="Verified labels: JSON lines of query_id, caption, gt_video_ids; may be repeated.",
)
@_OVERWRITE
@_STORE
@given_as(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Write STORE from features and captions in a known layout.

    Lists every problem of the corpus; if there is one, nothing is written.
    """
    from prvr_model.store.importers.annotating import AnnotationFiles
    from prvr_model.store.importers.corpus import ImportChoices
    from prvr_model.store.importers.importing import import_corpus

    choices = ImportChoices(
        overwrite=options.overwrite,
        val_from_train=options.val_from_train,
        skip_uncaptioned=options.skip_uncaptioned,
        video_features=options.video_features,
        text_features=options.text_features,
        captions=options.captions,
        join_pieces=options.join_pieces,
        trim_padding=options.trim_padding,
        allow=frozenset(options.allow),
        annotations=AnnotationFiles(options.moments, options.durations, options.relevance),
    )
    with import_progress() as progress:
        report = import_corpus(
            options.layout, options.root, options.collection, options.store, choices, progress
        )
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    _echo_store(options.store, report.manifest)
    echo_verdict(options.store)


@data.command()
@click.option("--name", default="synthetic", show_default=True, help="Name of the data set.")
@click.option("--seed", type=int, help="The same as --set seed=SEED.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Size or difficulty, e.g. train_videos=500 or frame_noise=1.5; may be repeated.",
)
@_OVERWRITE
@_STORE
def synth(
    name: str, seed: int | None, assignments: tuple[str, ...], overwrite: bool, store: Path
) -> None:
    """Write STORE with generated videos and captions; the same seed gives the same store."""
    from prvr_model.store.synthetic import write_synthetic

    values = _assigned(assignments)
    if seed is not None:
        values["seed"] = seed
    manifest = write_synthetic(store, _synthetic(values), overwrite=overwrite, name=name)
    _echo_store(store, manifest)


@data.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@_STORE
def inspect(store: Path, as_json: bool) -> None:
    """Check STORE against its fingerprint, show its content and say whether it is sane."""
    from prvr_model.retrieval.sanity import judge
    from prvr_model.store.reader import FeatureStore
    from prvr_model.store.summary import summarise, summary_lines

    opened = FeatureStore.open(store)
    opened.verify()
    summary, verdict = summarise(opened), judge(opened)
    if as_json:
        click.echo(json.dumps({**summary, "verdict": verdict.to_dict()}))
        return
    warnings = [f"warning: {warning}" for warning in verdict.warnings]
    click.echo("\n".join([*summary_lines(summary), "verdict:", *verdict.lines(), *warnings]))


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise click.BadParameter(f"{assignment!r} is not NAME=VALUE", param_hint="--set")
        try:
            values[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            # Kept as text; the check of the settings says what is allowed.
            values[name.strip()] = value
    return values


def _synthetic(values: dict[str, Any]) -> "SyntheticSettings":
    from pydantic import ValidationError

    from orchestrator.spec.problems import explain
    from prvr_model.errors import SettingsError
    from prvr_model.store.synthetic import SyntheticSettings

    try:
        return SyntheticSettings.model_validate(values)
    except ValidationError as error:
        problems = explain(error, SyntheticSettings)
        raise SettingsError(
            [(".".join(problem.path), problem.message) for problem in problems]
        ) from error


def _echo_store(store: Path, manifest: "Manifest") -> None:
    click.echo(f"{store}: {manifest.name}, fingerprint {manifest.fingerprint}")
    for name, counts in manifest.splits.items():
        click.echo(f"{name}: {counts.videos} videos, {counts.captions} captions")

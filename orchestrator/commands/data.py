"""`prvr-sweep data`: makes and inspects feature stores."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import USER_PATH, given_as
from orchestrator.commands.verdict import echo_verdict

# Readers and writers are imported where they are used: `--help` must not wait for them.
if TYPE_CHECKING:
    from prvr_model.store.format import Manifest
    from prvr_model.store.synthetic import SyntheticSettings

_PROGRESS_EVERY_S = 1.0

_STORE = click.argument("store", type=USER_PATH)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing store.")


@click.group()
def data() -> None:
    """Make and inspect feature stores."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of `data import`."""

    layout: str
    root: Path
    collection: str
    val_from_train: float | None
    skip_uncaptioned: bool
    video_features: str | None
    text_features: str | None
    moments: tuple[Path, ...]
    durations: Path | None
    relevance: tuple[Path, ...]
    overwrite: bool
    store: Path


@data.command("import")
@click.option(
    "--layout",
    type=click.Choice(["msc"]),
    required=True,
    help="Layout of the files. msc: FeatureData/ and TextData/ with one HDF5 file each.",
)
@click.option(
    "--root",
    type=USER_PATH,
    required=True,
    help="Folder that holds COLLECTION/FeatureData or FeatureData.",
)
@click.option("--collection", required=True, help="Name with which the file names begin.")
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
    help="Feature file of the videos, by name in FeatureData or by path. Default: the one that "
    "LAYOUT names, or the only HDF5 file there.",
)
@click.option(
    "--text-features",
    metavar="FILE",
    help="Feature file of the captions, by name in TextData or by path; default as above.",
)
@click.option(
    "--moments",
    type=USER_PATH,
    multiple=True,
    metavar="FILE",
    help="Moments and lengths: TVR or QVHighlights JSON lines, ActivityNet JSON, Charades-STA "
    "text, or a table (CSV, JSON lines, Parquet) with video, caption, start, end; may be repeated.",
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
    """Write STORE from features and captions in a known LAYOUT.

    Lists every problem of the corpus; if there is one, nothing is written.
    """
    from prvr_model.store.importers.annotating import AnnotationFiles
    from prvr_model.store.importers.corpus import ImportChoices
    from prvr_model.store.importers.msc import import_msc

    choices = ImportChoices(
        overwrite=options.overwrite,
        val_from_train=options.val_from_train,
        skip_uncaptioned=options.skip_uncaptioned,
        video_features=options.video_features,
        text_features=options.text_features,
        annotations=AnnotationFiles(options.moments, options.durations, options.relevance),
    )
    report = import_msc(options.root, options.collection, options.store, choices, _Progress())
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


class _Progress:
    """Prints the progress of an import on stderr, at most once a second."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S or done == total:
            self._last = now
            click.echo(f"read {done} of {total} videos and captions", err=True)

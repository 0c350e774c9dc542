"""`prvr-sweep data`: makes feature stores and looks into them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import given_as

# Readers and writers are imported where they are used: `--help` must not wait for them.
if TYPE_CHECKING:
    from prvr_model.store.format import Manifest
    from prvr_model.store.synthetic import SyntheticSettings

_PROGRESS_EVERY_S = 1.0

_STORE = click.argument("store", type=click.Path(path_type=Path))
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace a store that is there.")


@click.group()
def data() -> None:
    """Make feature stores and look into them."""


@dataclass(frozen=True)
class ImportOptions:
    """What an import is told."""

    layout: str
    root: Path
    collection: str
    val_from_train: float | None
    skip_uncaptioned: bool
    overwrite: bool
    store: Path


@data.command("import")
@click.option(
    "--layout",
    type=click.Choice(["msc"]),
    required=True,
    help="How the files lie. msc: FeatureData/ and TextData/ with one HDF5 file each.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with COLLECTION/FeatureData or FeatureData in it.",
)
@click.option("--collection", required=True, help="Name that the files start with.")
@click.option(
    "--val-from-train",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="FRACTION",
    help="Take validation videos out of train; val becomes test where there is no test split.",
)
@click.option(
    "--skip-uncaptioned",
    is_flag=True,
    help="Leave out videos that no caption file names. Done anyway where a split is missing.",
)
@_OVERWRITE
@_STORE
@given_as(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Write STORE from features and captions in a known LAYOUT.

    Every problem of the corpus is listed; nothing is written where there is one.
    """
    from prvr_model.store.importers.msc import import_msc

    report = import_msc(
        options.root,
        options.collection,
        options.store,
        overwrite=options.overwrite,
        val_from_train=options.val_from_train,
        skip_uncaptioned=options.skip_uncaptioned,
        progress=_Progress(),
    )
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    _echo_store(options.store, report.manifest)


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
    """Check STORE against its fingerprint and show what is in it."""
    from prvr_model.store.reader import FeatureStore
    from prvr_model.store.summary import summarise, summary_lines

    opened = FeatureStore.open(store)
    opened.verify()
    summary = summarise(opened)
    click.echo(json.dumps(summary) if as_json else "\n".join(summary_lines(summary)))


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise click.BadParameter(f"{assignment!r} is not NAME=VALUE", param_hint="--set")
        try:
            values[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            # Left as text; the settings' own check says what is allowed.
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
    """Shows how far an import is, once a second on stderr."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S or done == total:
            self._last = now
            click.echo(f"read {done} of {total} videos and captions", err=True)

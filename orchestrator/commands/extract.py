"""`prvr-sweep data extract`: makes a feature store from videos and captions."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.item_progress import item_progress
from orchestrator.commands.options import USER_LOCATION, USER_PATH, given_as
from orchestrator.commands.verdict import echo_verdict

# torch and transformers are imported where they are used: `--help` must not wait for them.
if TYPE_CHECKING:
    from prvr_model.extraction.encoder import FeatureEncoder, Precision
    from prvr_model.extraction.extract import ExtractionPlan, ExtractionReport, ExtractionRequest
    from prvr_model.extraction.parts import Parts
    from prvr_model.extraction.pipeline import BrokenVideo

_SUM_SLACK = 1e-6


class _Shares(click.ParamType[Any]):
    """Shares of train, val and test."""

    name = "shares"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:  # noqa: ANN401
        """Three numbers whose sum is 1."""
        shares: tuple[float, ...] = ()
        with suppress(ValueError):
            shares = tuple(float(share) for share in str(value).split(","))
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > _SUM_SLACK:
            self.fail(
                f"{value!r} is not three numbers with the sum 1, e.g. 0.8,0.1,0.1", param, ctx
            )
        return shares


@dataclass(frozen=True)
class ExtractOptions:
    """Options of `data extract`."""

    videos: Path
    captions: Path
    encoder: str
    fps: float
    max_seconds: float | None
    split: tuple[float, ...] | None
    seed: int
    skip_broken: bool
    device: str
    precision: "Precision | None"
    workers: int | None
    address: str | None
    storage: str | None
    overwrite: bool
    store: Path


@click.command()
@click.option("--videos", type=USER_PATH, required=True, help="Folder of the videos.")
@click.option(
    "--captions",
    type=USER_PATH,
    required=True,
    help="Table of captions, CSV, JSON lines or Parquet, with the columns video and caption; id, "
    "start, end, type, split and relevant are optional. Or annotations of TVR, ActivityNet, "
    "Charades-STA or QVHighlights.",
)
@click.option(
    "--encoder",
    required=True,
    metavar="NAME",
    help="CLIP, SigLIP 2 or a model of their kind: a folder, or its name on the Hugging Face hub, "
    "which is asked only for what the cache has not.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, 100, min_open=True),
    default=3.0,
    show_default=True,
    help="Rows a second, sampled by presentation time.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, min_open=True),
    help="Leave out what follows in longer videos.",
)
@click.option(
    "--split",
    type=_Shares(),
    metavar="TRAIN,VAL,TEST",
    help="Shares of the videos, where captions have no split. Default: 0.8,0.1,0.1.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the drawn split.")
@click.option(
    "--skip-broken",
    is_flag=True,
    help="Leave out videos that are missing or cannot be decoded to their end.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the encoder runs.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Number type of the encoder. Default: bfloat16 on GPUs, float32 on CPUs.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Threads that decode. Default: one for each CPU.",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Encode on a running Ray cluster; videos, encoder and storage must be the same locations "
    "on all nodes.",
)
@click.option(
    "--storage",
    type=USER_LOCATION,
    metavar="URI",
    help="With --address: where nodes put finished videos until the store is written, an absolute "
    "path or a URI such as s3://...",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@click.argument("store", type=USER_PATH)
@given_as(ExtractOptions)
def extract(options: ExtractOptions) -> None:
    """Write STORE from videos and captions.

    Finished videos are kept beside STORE until it is written: the same command goes on after it was
    stopped. Broken videos are listed with the cause; exit code 3.
    """
    from prvr_model.extraction.extract import extraction_lock, plan_extraction
    from prvr_model.store.writer import check_target

    if (options.address is None) != (options.storage is None):
        raise click.UsageError("--address and --storage go together: nodes share a storage")
    if options.storage is not None:
        _check_storage(options.storage)
    plan = plan_extraction(_request(options))
    _say_notes(plan.notes)
    with extraction_lock(options.store.absolute(), lambda text: click.echo(text, err=True)):
        check_target(options.store, options.overwrite)  # the one that was waited for made it
        report = _on_cluster(options, plan) if options.address else _here(options, plan)
    _say_notes(report.notes[len(plan.notes) :])
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{options.store}: {report.manifest.name}, fingerprint {report.manifest.fingerprint}"
    )
    for name, counts in report.manifest.splits.items():
        click.echo(f"{name}: {counts.videos} videos, {counts.captions} captions")
    echo_verdict(options.store)


def _check_storage(storage: str) -> None:
    from prvr_model.files.folder import Folder, StorageError

    try:
        Folder.open(storage)
    except StorageError as error:
        raise click.UsageError(f"--storage {error}") from error


def _request(options: ExtractOptions) -> "ExtractionRequest":
    from prvr_model.extraction.decoding import Sampling
    from prvr_model.extraction.extract import ExtractionRequest

    return ExtractionRequest(
        videos=options.videos,
        captions=options.captions,
        target=options.store,
        sampling=Sampling(options.fps, options.max_seconds),
        split=options.split,
        seed=options.seed,
        skip_broken=options.skip_broken,
        overwrite=options.overwrite,
    )


def _say_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _here(options: ExtractOptions, plan: "ExtractionPlan") -> "ExtractionReport":
    """Encode on this machine."""
    from orchestrator.base.machine import available_cpus
    from prvr_model.extraction.encoder import FeatureEncoder
    from prvr_model.extraction.extract import extract_parts
    from prvr_model.extraction.parts import parts_folder

    encoder = FeatureEncoder.load(options.encoder, options.device, options.precision)
    workers = options.workers or available_cpus()
    parts = _parts(options, plan, encoder, parts_folder(options.store.absolute()))
    with _progress(plan, parts) as done:
        broken = extract_parts(encoder, plan.jobs, plan.request.sampling, parts, workers, done)
    return _joined(plan, encoder, parts, broken)


def _on_cluster(options: ExtractOptions, plan: "ExtractionPlan") -> "ExtractionReport":
    """Encode on a running cluster; the captions are encoded here."""
    from orchestrator.cluster.client import attached_cluster
    from orchestrator.cluster.ray_environment import loading_ray
    from prvr_model.extraction.encoder import FeatureEncoder, usual_precision
    from prvr_model.extraction.parts import shared_parts

    with loading_ray():
        from orchestrator.executors.cluster_extraction import (
            ExtractionTask,
            actor_pool,
            extract_on_cluster,
        )

    assert options.address is not None
    assert options.storage is not None, "checked with the other options"
    # In bounded time, whatever the address leads to.
    with attached_cluster(options.address) as cluster:
        nodes = cluster.nodes
    has_gpus = any(node.gpus for node in nodes)
    device = ("cuda" if has_gpus else "cpu") if options.device == "auto" else options.device
    workers = options.workers or 1
    actor_pool(nodes, device, workers)  # refuses what can never fit
    precision = options.precision or usual_precision(device)
    encoder = FeatureEncoder.load(options.encoder, "auto", precision)
    sampling, recipe = plan.request.sampling, encoder.recipe(options.fps)
    folder = shared_parts(options.storage, options.store, recipe, sampling, precision)
    parts = _parts(options, plan, encoder, folder)
    click.echo(f"finished videos wait in {folder}", err=True)
    task = ExtractionTask(_shared(options.encoder), device, precision, sampling, folder, workers)
    todo = [job for job in plan.jobs if not parts.has(job)]
    with _progress(plan, parts) as done:
        broken = extract_on_cluster(options.address, task, todo, done) if todo else []
    return _joined(plan, encoder, parts, broken)


def _joined(
    plan: "ExtractionPlan",
    encoder: "FeatureEncoder",
    parts: "Parts",
    broken: "Sequence[BrokenVideo]",
) -> "ExtractionReport":
    """Write the store; only then its parts are removed."""
    from prvr_model.extraction.extract import join_parts

    with item_progress(sys.stderr, len(plan.rows), 0, ("captions", "tokens")) as done:
        report = join_parts(plan, encoder, parts, broken, done)
    parts.remove()
    return report


def _shared(encoder: str) -> str:
    """The encoder by a name that other nodes and folders know."""
    return str(Path(encoder).resolve()) if Path(encoder).is_dir() else encoder


def _parts(
    options: ExtractOptions,
    plan: "ExtractionPlan",
    encoder: "FeatureEncoder",
    folder: Path | str,
) -> "Parts":
    """The finished videos of earlier runs; says what is there."""
    from prvr_model.extraction.parts import Parts
    from prvr_model.files.folder import Folder

    parts = Parts(Folder.open(folder))
    if parts.begin(encoder.recipe(options.fps), plan.request.sampling, encoder.precision):
        click.echo("videos that were finished with other settings are removed", err=True)
    elif kept := sum(map(parts.has, plan.jobs)):
        click.echo(f"{kept} of {len(plan.jobs)} videos are done already", err=True)
    return parts


def _progress(
    plan: "ExtractionPlan", parts: "Parts"
) -> AbstractContextManager[Callable[[int], None]]:
    begun_with = sum(map(parts.has, plan.jobs))
    return item_progress(sys.stderr, len(plan.jobs), begun_with, ("videos", "frames"))

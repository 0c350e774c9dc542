"""Makes a store from videos and captions.

    plan = plan_extraction(request)             # everything that can be wrong before it begins
    broken = extract_parts(encoder, plan.jobs, ...)     # here, or on many machines
    report = join_parts(plan, encoder, parts, broken)

Between the steps there is nothing but the parts: a new run decodes only what is missing.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prvr_model.errors import CorpusError, DataError, StoreError
from prvr_model.extraction.decoding import Sampling
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.extraction.parts import Parts, parts_folder
from prvr_model.extraction.pipeline import BrokenVideo, VideoJob, encode_videos
from prvr_model.extraction.videos import find_videos
from prvr_model.files.file_lock import exclusive
from prvr_model.store.format import SPLIT_NAMES, Manifest, zero_row_warnings
from prvr_model.store.importers.annotation_files import all_captions
from prvr_model.store.importers.annotation_forms import CaptionRecord, ClippedMoments
from prvr_model.store.importers.splitting import draw_splits
from prvr_model.store.writer import StoreWriter, check_target

USUAL_SPLIT = (0.8, 0.1, 0.1)

Done = Callable[[int], None]
"""Called with the rows of each video or caption that is done; 0 for one that is broken."""


@dataclass(frozen=True)
class ExtractionRequest:
    """What a user asks for.

    Args:
        videos: Folder of the videos.
        captions: Table of captions, or an annotation file, see `all_captions`.
        target: The store.
        sampling: Which frames become rows.
        split: Shares of train, val and test; None: the captions' own, else the usual ones.
        seed: Seed of the draw.
        skip_broken: Leave out videos that cannot be used.
        overwrite: Replace a store that is there.
    """

    videos: Path
    captions: Path
    target: Path
    sampling: Sampling
    split: tuple[float, ...] | None = None
    seed: int = 0
    skip_broken: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ExtractionPlan:
    """What is to do.

    Args:
        request: What was asked for.
        rows: Captions, each with its id and split.
        jobs: Videos that were found, each once.
        missing: Videos that were not.
        notes: What a user should know.
    """

    request: ExtractionRequest
    rows: tuple[CaptionRecord, ...]
    jobs: tuple[VideoJob, ...]
    missing: tuple[BrokenVideo, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ExtractionReport:
    """What was made, and what the user should know about it."""

    manifest: Manifest
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@contextmanager
def extraction_lock(target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other extractions of a store away while the block runs.

    Args:
        target: The store.
        say: Takes a line for the user if another one has to be waited for.

    Raises:
        StoreError: The folder around the store cannot be made.
    """
    lock = parts_folder(target).with_suffix(".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {lock.parent}: {error.strerror}") from error
    with exclusive(lock, lambda: say(f"another extraction makes {target}; waiting for it")):
        yield


def plan_extraction(request: ExtractionRequest) -> ExtractionPlan:
    """Read the captions, draw their splits and find their videos.

    Raises:
        DataError: Something cannot be read, contradicts itself, or leaves nothing to do.
        StoreError: The store exists or cannot be written.
    """
    check_target(request.target, request.overwrite)
    read = all_captions(request.captions)
    rows, notes = _with_splits(list(read.records), request)
    if not read.is_table:
        notes.insert(0, f"{request.captions} is read as {read.form}: {len(rows)} captions")
    jobs, missing = find_videos(request.videos, dict.fromkeys(row.video_id for row in rows))
    if not jobs:
        raise _broken_error(missing, len(missing), "none of them can be found")
    return ExtractionPlan(request, tuple(rows), tuple(jobs), tuple(missing), tuple(notes))


def _with_splits(
    rows: list[CaptionRecord], request: ExtractionRequest
) -> tuple[list[CaptionRecord], list[str]]:
    if rows[0].split is not None:
        if request.split is not None:
            raise DataError(
                f"{request.captions} says the split of each caption, and so does --split; leave "
                "one out"
            )
        return rows, []
    shares = request.split or USUAL_SPLIT
    splits = draw_splits((row.video_id for row in rows), shares, request.seed)
    counts = [f"{list(splits.values()).count(name)} {name}" for name in SPLIT_NAMES]
    note = f"the videos were drawn into {', '.join(counts)} with seed {request.seed}"
    return [replace(row, split=splits[row.video_id]) for row in rows], [note]


# Six: what to encode, how, where results go, and what is told of each.
def extract_parts(
    encoder: FeatureEncoder,
    jobs: Sequence[VideoJob],
    sampling: Sampling,
    parts: Parts,
    workers: int,
    done: Done,
) -> list[BrokenVideo]:
    """Encode the videos whose parts are missing, and write their parts.

    Args:
        encoder: The encoder.
        jobs: The videos.
        sampling: Which frames become rows.
        parts: Takes each video when it is done.
        workers: Threads that decode and prepare.
        done: Told of each video.

    Returns:
        Videos that cannot be used.
    """
    todo = [job for job in jobs if not parts.has(job)]
    broken = []
    for video in encode_videos(encoder, todo, sampling, workers) if todo else ():
        if isinstance(video, BrokenVideo):
            broken.append(video)
            done(0)
        else:
            parts.write(video)
            done(len(video.rows))
    return broken


def join_parts(
    plan: ExtractionPlan,
    encoder: FeatureEncoder,
    parts: Parts,
    broken: Sequence[BrokenVideo],
    done: Done,
) -> ExtractionReport:
    """Write the store from its parts, and encode its captions.

    Args:
        plan: What was to do.
        encoder: Encodes the captions.
        parts: Finished videos; they stay.
        broken: Videos that cannot be used.
        done: Told the rows of each caption.

    Raises:
        CorpusError: Videos are broken, and nobody said to skip them.
        StoreError: The store cannot be written.
    """
    order = {row.video_id: number for number, row in enumerate(reversed(plan.rows))}
    left_out = sorted([*plan.missing, *broken], key=lambda video: -order[video.video])
    total = len(plan.jobs) + len(plan.missing)
    if left_out and (not plan.request.skip_broken or len(left_out) == total):
        hint = "repair them, or leave them out with --skip-broken; the others are kept until then"
        raise _broken_error(left_out, total, hint)
    writer = _writer(plan, encoder, left_out)
    with writer:
        names = {video.video for video in left_out}
        rows = [row for row in plan.rows if row.video_id not in names]
        durations = _write_videos(writer, plan, rows, parts)
        notes = _write_captions(writer, rows, durations, encoder, done)
    warnings = [f"video {video.video!r} was left out: {video.cause}" for video in left_out]
    warnings += zero_row_warnings(writer.manifest)
    return ExtractionReport(writer.manifest, (*plan.notes, *notes), tuple(warnings))


def _broken_error(broken: Sequence[BrokenVideo], total: int, hint: str) -> CorpusError:
    return CorpusError(
        f"{len(broken)} of {total} videos cannot be used: {hint}",
        [f"{video.video!r}: {video.cause}" for video in broken],
    )


def _writer(
    plan: ExtractionPlan, encoder: FeatureEncoder, left_out: Sequence[BrokenVideo]
) -> StoreWriter:
    request = plan.request
    rate = request.sampling.frames_per_second
    return StoreWriter(
        request.target,
        name=request.target.stem,
        video_dim=encoder.dim,
        text_dim=encoder.dim,
        source=_source(request, encoder, left_out),
        recipe=encoder.recipe(rate),
        seconds_per_row=1 / rate,
        overwrite=request.overwrite,
    )


def _source(
    request: ExtractionRequest, encoder: FeatureEncoder, left_out: Sequence[BrokenVideo]
) -> dict[str, Any]:
    return {
        "kind": "videos",
        "videos": request.videos.name,
        "captions": request.captions.name,
        "captions_sha256": hashlib.sha256(request.captions.read_bytes()).hexdigest(),
        "split": list(request.split) if request.split else None,
        "seed": request.seed,
        "max_seconds": request.sampling.max_seconds,
        "precision": encoder.precision,
        "left_out": {video.video: video.cause for video in left_out},
    }


def _write_videos(
    writer: StoreWriter, plan: ExtractionPlan, rows: Sequence[CaptionRecord], parts: Parts
) -> dict[str, float]:
    """Write the videos of captions, in the captions' order; returns the seconds of each."""
    jobs = {job.video: job for job in plan.jobs}
    durations: dict[str, float] = {}
    for video, split in {row.video_id: row.split or "" for row in rows}.items():
        features, durations[video] = parts.read(jobs[video])
        writer.add_video(split, video, features, durations[video])
    return durations


def _write_captions(
    writer: StoreWriter,
    rows: Sequence[CaptionRecord],
    durations: Mapping[str, float],
    encoder: FeatureEncoder,
    done: Done,
) -> list[str]:
    """Write captions in their order; returns notes."""
    splits = {row.video_id: row.split for row in rows}
    moments = ClippedMoments(durations)
    lost = 0
    for row in rows:
        tokens = encoder.encode_captions([row.text])[0]
        # A relevant video counts where it can be found: in the caption's own split.
        relevant = [video for video in row.relevant if splits.get(video) == row.split]
        lost += len(row.relevant) - len(relevant)
        known = replace(row.annotation, moments=moments.spans(row, row.moments), relevant=relevant)
        writer.add_caption(row.split or "", row.caption_id, row.video_id, row.text, tokens, known)
        done(len(tokens))
    notes = [f"{lost} relevant videos are not in their caption's split"] if lost else []
    moments.tell(notes)
    return notes

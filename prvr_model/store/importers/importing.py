"""Imports a corpus in any layout: reads it, checks it, writes its store."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from prvr_model.errors import CorpusError, SettingsError, did_you_mean
from prvr_model.store.annotations import NOTHING_KNOWN, CaptionAnnotation
from prvr_model.store.importers import layouts
from prvr_model.store.importers.annotating import AnnotationFiles, Annotations, annotate
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.copying import write_corpus
from prvr_model.store.importers.corpus import Corpus, ImportChoices, ImportReport, Progress
from prvr_model.store.importers.found_files import holds, names_in
from prvr_model.store.importers.known_counts import count_notes
from prvr_model.store.importers.layout import Content, Layout, Request
from prvr_model.store.importers.layouts import AUTO, LAYOUTS
from prvr_model.store.importers.matching import check_names, find_items, leaves_out
from prvr_model.store.importers.problems import Problems
from prvr_model.store.importers.sanity import ALLOWABLE
from prvr_model.store.importers.splitting import settle_splits
from prvr_model.store.writer import check_target


# Six: what and how, from where, to where, and what is told of each item.
def import_corpus(
    layout: str,
    root: Path,
    collection: str | None,
    target: Path,
    choices: ImportChoices | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Write a store from a corpus.

    Args:
        layout: A name of `LAYOUTS`, or `auto` for the only one that fits.
        root: Folder of the files.
        collection: Name of the data set, with which file names begin in most layouts; None: the
            only one there.
        target: Folder of the store.
        choices: What the user chooses.
        progress: Called for each item that has been read.

    Raises:
        SettingsError: A choice that is unknown, or that the layout does not have.
        CorpusError: Every problem of the corpus.
        StoreError: The target exists or cannot be written.
    """
    request = Request(root, collection, choices or ImportChoices(), Problems(), [])
    _check_choices(layout, request.choices)
    check_target(target, request.choices.overwrite)
    _check_annotation_files(request.choices.annotations)
    with ExitStack() as stack:
        try:
            content = _read(layout, request, stack)
        except OSError as error:
            reason = f"cannot look at {error.filename}: {error.strerror}"
            raise CorpusError(f"cannot import {collection or root.name}", [reason]) from error
        return write_corpus(_corpus(content, request), target, request.choices, progress)


def _read(layout: str, request: Request, stack: ExitStack) -> Content:
    name = _detected(request) if layout == AUTO else layout
    found = _layout(name)
    _check_options(name, found, request.choices)
    return found.read(request, stack)


def _corpus(content: Content, request: Request) -> Corpus:
    """The content with its features found, or a problem for each that is not."""
    problems, notes, choices = request.problems, request.notes, request.choices
    notes += count_notes(content.name, content.splits)
    splits = settle_splits(
        content.splits, content.missing_split, choices.val_from_train, problems, notes
    )
    corpus = Corpus(
        content.name,
        {**content.source, "val_from_train": choices.val_from_train},
        content.videos,
        content.texts,
        durations=content.durations,
        seconds_per_row=content.seconds_per_row,
        problems=problems,
        notes=notes,
    )
    find_items(corpus, splits, content.keys)
    check_names(corpus, splits, leaves_out(splits, choices))
    read = annotate(choices.annotations, splits, problems, notes)
    return replace(
        corpus,
        source={**corpus.source, **read.source},
        durations={**content.durations, **read.durations_s},
        annotations=_annotations(content, read, splits, notes),
    )


def _annotations(
    content: Content, read: Annotations, splits: Mapping[str, list[CaptionLine]], notes: list[str]
) -> dict[tuple[str, str], CaptionAnnotation]:
    """What the layout knows, with what annotation files say in its place where they say it."""
    found: dict[tuple[str, str], CaptionAnnotation] = {}
    strangers: list[str] = []
    for split, lines in splits.items():
        videos = {line.video_id for line in lines}
        for line in lines:
            own = content.annotations.get(line.caption_id, NOTHING_KNOWN)
            other = read.of(split, line.caption_id)
            relevant = other.relevant or own.relevant
            strangers += [video for video in relevant if video not in videos]
            kept = tuple(video for video in relevant if video in videos)
            found[split, line.caption_id] = CaptionAnnotation(
                other.moments or own.moments, kept, other.query_type or own.query_type
            )
    if strangers:
        notes.append(
            f"{len(strangers)} relevant videos are not in the split of their caption and were left "
            f"out (first {strangers[0]!r})"
        )
    return found


def _layout(name: str) -> Layout:
    found: Layout = import_module(f"{layouts.__name__}.{name.replace('-', '_')}").LAYOUT
    return found


def _detected(request: Request) -> str:
    """Name of the only layout that fits a root.

    Raises:
        CorpusError: None fits, or several do.
    """
    root, collection = request.root, request.collection
    fitting = {name: why for name in LAYOUTS if (why := _layout(name).evidence(root, collection))}
    reasons = [f"{name}: {why}" for name, why in fitting.items()]
    if len(reasons) == 1:
        request.notes.append(f"layout {reasons[0]}")
        return next(iter(fitting))
    if reasons:
        raise CorpusError(
            f"{len(reasons)} layouts fit {root}", [*reasons, "choose one with --layout NAME"]
        )
    there = holds(root, names_in(root)) if root.is_dir() else f"{root} is no folder"
    known = (f"{name}: {summary}" for name, summary in LAYOUTS.items())
    raise CorpusError(f"no layout fits {root}", [there, *known])


def _check_choices(layout: str, choices: ImportChoices) -> None:
    if layout not in (AUTO, *LAYOUTS):
        near = did_you_mean(layout, LAYOUTS)
        text = f"there is no layout {layout!r}; allowed: {', '.join((AUTO, *LAYOUTS))}{near}"
        raise SettingsError([("--layout", text)])
    if unknown := sorted(choices.allow - set(ALLOWABLE)):
        known = ", ".join(f"{name} ({what})" for name, what in ALLOWABLE.items())
        near = did_you_mean(unknown[0], ALLOWABLE)
        raise SettingsError([("--allow", f"found {unknown[0]!r}; allowed: {known}{near}")])


def _check_annotation_files(files: AnnotationFiles) -> None:
    """Tell of files that are not there before hours of reading, not after."""
    durations = [files.durations] if files.durations else []
    named = (*files.moments, *durations, *files.relevance)
    if missing := [f"there is no file {path}" for path in named if not path.is_file()]:
        raise CorpusError("cannot read what is known of the captions", missing)


def _check_options(name: str, layout: Layout, choices: ImportChoices) -> None:
    given = {"captions": choices.captions is not None, "join_pieces": choices.join_pieces}
    refused = [
        (f"--{option.replace('_', '-')}", f"layout {name} has no use for it")
        for option, is_given in given.items()
        if is_given and option not in layout.options
    ]
    if refused:
        raise SettingsError(refused)

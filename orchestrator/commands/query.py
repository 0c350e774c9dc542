"""`prvr-sweep query`: a sentence in, ranked videos with seconds out."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.text import table_lines
from orchestrator.commands.options import USER_PATH, given_as

if TYPE_CHECKING:
    from orchestrator.serving.answers import Answer, Answers, Moment
    from orchestrator.serving.gallery import Gallery

_STDIN = "-"


@dataclass(frozen=True)
class QueryOptions:
    """What a query is told; None: the default."""

    gallery: Path
    sentence: str | None
    top: int
    moments: int
    file: Path | None
    tokens: Path | None
    encoder: Path | None
    exact: bool
    as_json: bool


@click.command()
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N")
@click.option(
    "--moments",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Moments shown of each video: the best and the next-best ones.",
)
@click.option("--file", type=USER_PATH, help="Ask every line of this file that is not blank.")
@click.option(
    "--tokens",
    type=USER_PATH,
    metavar="FILE",
    help="Ask with token features instead of a sentence: .npy of (length, dimension), or .npz of "
    "several.",
)
@click.option(
    "--encoder",
    type=USER_PATH,
    metavar="FOLDER",
    help="Folder of the text encoder's weights. Default: the Hugging Face cache.",
)
@click.option("--exact", is_flag=True, help="Score all videos even if GALLERY has an index.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each query on stdout.")
@click.argument("gallery", type=USER_PATH)
@click.argument("sentence", required=False)
@given_as(QueryOptions)
def query(options: QueryOptions) -> None:
    """Rank the videos of GALLERY by how well a moment of each fits SENTENCE.

    Without SENTENCE, or with -, the sentence is read from stdin.
    """
    given = [options.sentence is not None, options.file is not None, options.tokens is not None]
    if sum(given) > 1:
        raise click.UsageError("found more than one of SENTENCE, --file and --tokens; give one")
    # A gallery that cannot be opened is told before anybody types.
    gallery = _opened(options)
    found = _asked(gallery, options)
    for answers in found:
        if options.as_json:
            click.echo(json.dumps(answers.to_dict()))
        else:
            _echo(answers, several=any(given[1:]))


def _opened(options: QueryOptions) -> "Gallery":
    from orchestrator.serving.gallery import Gallery

    return Gallery.open(options.gallery, encoder=options.encoder, exact=options.exact)


def _asked(gallery: "Gallery", options: QueryOptions) -> "Sequence[Answers]":
    if options.tokens is not None:
        from orchestrator.serving.token_files import read_tokens

        named = read_tokens(options.tokens)
        return gallery.query_tokens(named, top=options.top, moments=options.moments)
    sentences = list(_sentences(options))
    return gallery.query_all(sentences, top=options.top, moments=options.moments)


def _sentences(options: QueryOptions) -> Iterator[str]:
    if options.file is not None:
        yield from _lines(options.file)
    elif options.sentence in (None, _STDIN):
        if sys.stdin.isatty():
            click.echo("type a sentence, then Ctrl-D", err=True)
        yield sys.stdin.read().strip()
    else:
        yield str(options.sentence)


def _lines(file: Path) -> list[str]:
    from orchestrator.base.errors import QueryError

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise QueryError(f"--file: {file} cannot be read: {reason}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise QueryError(f"--file: {file} has no sentence; wanted: one a line")
    return lines


def _echo(answers: "Answers", *, several: bool) -> None:
    if several:
        click.echo(answers.query or "token features")
    rows = [["rank", "video", "score", "moments"], *map(_row, answers)]
    # Names may be long; moments have no common width.
    widths = table_lines([row[:3] for row in rows])
    for line, row in zip(widths, rows, strict=True):
        click.echo(f"{line}  {row[3]}")
    if several:
        click.echo()


def _row(answer: "Answer") -> list[str]:
    moments = ", ".join(map(_moment, answer.moments)) or "times are not known"
    return [str(answer.rank), answer.video, f"{answer.score:.4f}", moments]


def _moment(moment: "Moment") -> str:
    # Outwards: a moment of half a second is no moment of none.
    return f"{_clock(floor(moment.start_s))} to {_clock(ceil(moment.end_s))}"


def _clock(time_s: int) -> str:
    minutes, seconds = divmod(time_s, 60)
    return f"{minutes}:{seconds:02d}"

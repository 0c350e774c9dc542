"""`prvr-sweep gc`: frees checkpoints that a sweep no longer needs."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import home_option, json_option, launched_tracking_option

if TYPE_CHECKING:
    from orchestrator.sweep.free_checkpoints import CheckpointFile, Freed

_NOT_ALL = 1


@click.command()
@home_option
@launched_tracking_option
@click.option("--dry-run", is_flag=True, help="List what would be freed; free nothing.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="K",
    help="Keep the models of the K best trials; default: register.top, at least 3, and the front "
    "of several objectives.",
)
@json_option
@click.argument("sweep")
def gc(
    sweep: str, home: Path, tracking_uri: str | None, dry_run: bool, keep: int | None, as_json: bool
) -> int:
    """Free the checkpoints of SWEEP that nothing needs.

    Keeps all checkpoints of unfinished trials, the models of the best and of the registered
    trials, and the metrics and ranks of every trial. Extending a freed trial trains it from the
    start. Exit code 1: some files could not be freed.
    """
    from orchestrator.study.reader import begun_parts
    from orchestrator.sweep.free_checkpoints import free_checkpoints

    names = begun_parts(home, sweep)
    every = {
        name: free_checkpoints(name, home, tracking_uri, keep, dry_run=dry_run) for name in names
    }
    fields = [_fields(name, found, dry_run) for name, found in every.items()]
    if as_json:
        whole = {"sweep": sweep, "dry_run": dry_run, "parts": fields}
        click.echo(json.dumps(fields[0] if names == (sweep,) else whole))
    else:
        texts = ("\n".join(_lines(name, home, found, dry_run)) for name, found in every.items())
        click.echo("\n".join(texts))
    problems = [problem for found in every.values() for problem in found.problems]
    for problem in problems:
        click.echo(f"not freed: {problem}", err=True)
    return _NOT_ALL if problems else 0


def _fields(sweep: str, found: "Freed", dry_run: bool) -> dict[str, object]:
    freed = found.decision.freed if dry_run else found.done
    return {
        "sweep": sweep,
        "dry_run": dry_run,
        "keep": found.decision.keep,
        "kept": [
            {**asdict(checkpoint.file), "reason": checkpoint.reason}
            for checkpoint in found.decision.kept
        ],
        "freed": [asdict(checkpoint) for checkpoint in freed],
        "freed_bytes": _total(freed),
        "problems": list(found.problems),
    }


def _lines(sweep: str, home: Path, found: "Freed", dry_run: bool) -> Iterator[str]:
    from orchestrator.base.text import command

    kept = [checkpoint.file for checkpoint in found.decision.kept]
    freed = found.decision.freed if dry_run else found.done
    yield f"{sweep}: keeps {_counted(kept)}"
    for checkpoint in found.decision.kept:
        yield f"{_row(checkpoint.file)}  {checkpoint.reason}"
    yield f"{'would free' if dry_run else 'freed'} {_counted(freed)}"
    yield from (_row(checkpoint) for checkpoint in freed)
    if any(checkpoint.kind == "last" for checkpoint in freed):
        will = "could" if dry_run else "can"
        yield (
            f"trials without last.safetensors {will} no longer be extended from where they ended: "
            f"`{command('resume', sweep, home=home)}` with --epochs would train them from the start"
        )


def _row(file: "CheckpointFile") -> str:
    return f"  trial {file.trial:<5} {file.name:<18} {_megabytes(file.size_bytes):>12}"


def _counted(files: "list[CheckpointFile] | tuple[CheckpointFile, ...]") -> str:
    return f"{len(files)} checkpoint{'' if len(files) == 1 else 's'}, {_megabytes(_total(files))}"


def _total(files: "list[CheckpointFile] | tuple[CheckpointFile, ...]") -> int:
    return sum(path.size_bytes for path in files)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"

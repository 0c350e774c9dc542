"""Checks that N workers compute the loss, gradients and steps of one process.

`python -m tests.ddp_parity FILE.npz --world N` takes any file of the reference format, spreads its
batch unevenly over N gloo processes and prints one line per group with the largest relative error
against one process (float64 and float32) and against the file (float32). Exit code 1 on a miss.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch import Tensor

from prvr_model.inputs.batching import Batch, draws_for_step
from prvr_model.losses.objective import BranchDraws, LossTerms, compute_losses, loss_term_names
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.released_weights import our_name
from prvr_model.process_group import ALONE, GroupWorkers, Workers
from prvr_model.training.optimizer import BertAdam
from prvr_model.training.train_loop import build_optimizer
from tests.process_group import converted, own_part, run_in_group, uneven
from tests.prvr_model.tiny import ignored_pairs
from tests.reference_conformance import (
    GRADIENT_FLOOR,
    GRADIENT_TOLERANCE,
    OUTPUT_TOLERANCE,
    GroupResult,
    Reference,
    gradient_error,
    group,
    read_reference,
    relative_error,
    released_terms,
)

EXACT_TOLERANCE = 1e-9
NUM_STEPS = 10


@dataclass(frozen=True)
class Outcome:
    """What one step, and then ten, come to: values by name."""

    terms: dict[str, Tensor]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    exchanged_bytes: int


@dataclass(frozen=True)
class Kind:
    """How negatives are chosen.

    Args:
        name: Name of the group of results.
        hard: Whether the hardest are.
        ignoring: Whether every second caption is right for the next video as well, which is then no
            negative of it.
    """

    name: str
    hard: bool
    ignoring: bool = False


KINDS = (Kind("hard", True), Kind("random", False), Kind("ignored", False, ignoring=True))


def compute(
    reference: Reference,
    batch: Batch,
    workers: Workers,
    dtype: torch.dtype,
    hard: bool,
    num_steps: int = NUM_STEPS,
) -> Outcome:
    """Losses and summed gradients of the first of some optimizer steps, dropout off."""
    model = reference.model.to(dtype).eval()
    optimizer = _optimizer(reference)
    terms, gradients = {}, {}
    for step in range(num_steps):
        draws = _draws(batch, step, hard)
        found = compute_losses(
            model, batch, reference.settings.losses, draws, hard, workers=workers
        )
        optimizer.zero_grad()
        found.total.backward()
        workers.sum_gradients(model.parameters())
        if step == 0:
            values = found.all_workers(workers)
            terms = dict(zip(loss_term_names(), values, strict=True)) | {"total": values.sum()}
            gradients = {
                name: parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
            first = workers.exchanged_bytes
        optimizer.step()
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return Outcome(terms, gradients, weights, first)


def _optimizer(reference: Reference) -> BertAdam:
    settings = reference.settings.optimizer
    optimizer = build_optimizer(reference.model, reference.settings, num_videos=1)
    return BertAdam(
        optimizer.param_groups[0]["params"],
        optimizer.param_groups[1]["params"],
        settings,
        reference.total_steps,
    )


def _draws(batch: Batch, step: int, hard: bool) -> BranchDraws:
    sizes = (batch.spread.captions.total, batch.spread.videos.total)
    if hard:  # as the file was made: the hardest
        zeros = NegativeDraws(*(torch.zeros(size) for size in sizes))
        return BranchDraws(zeros, zeros)
    drawn = draws_for_step(1, 0, step, sizes * 2, torch.device("cpu"))
    return BranchDraws(NegativeDraws(*drawn[:2]), NegativeDraws(*drawn[2:]))


def worst(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], zero_norm: float = 0.0
) -> float:
    """Largest relative error over all tensors; infinite where one has no counterpart.

    Args:
        found: Tensors by name.
        wanted: What they should be.
        zero_norm: Where both norms are below it, both are zeros up to rounding.
    """
    if found.keys() != wanted.keys():
        return float("inf")
    return max(
        relative_error(found[name], wanted[name], GRADIENT_FLOOR)
        for name in wanted
        if not max(found[name].norm(), wanted[name].norm()) < zero_norm
    )


def check_rank(path: Path) -> Iterator[GroupResult]:
    """All checks; results are the same on every rank, but gradients are compared by each."""
    workers = GroupWorkers()
    for kind in KINDS:
        many, one = (
            _computed(path, who, torch.float64, kind, NUM_STEPS) for who in (workers, ALONE)
        )
        for name, error in (
            ("terms", worst(many.terms, one.terms)),
            ("gradients", worst(many.gradients, one.gradients)),
            (f"weights after {NUM_STEPS} steps", worst(many.weights, one.weights)),
        ):
            yield GroupResult(f"float64/{kind.name}/{name}", error, EXACT_TOLERANCE)
    for kind in KINDS[:2]:
        many, one = (_computed(path, who, torch.float32, kind, 1) for who in (workers, ALONE))
        error = worst(many.terms, one.terms)
        yield GroupResult(f"float32/{kind.name}/terms", error, OUTPUT_TOLERANCE)
        error = worst(many.gradients, one.gradients, zero_norm=GRADIENT_FLOOR)
        yield GroupResult(f"float32/{kind.name}/gradients", error, GRADIENT_TOLERANCE)
        if kind.hard:  # as the file was made
            yield from check_against_file(path, many)


def check_against_file(path: Path, found: Outcome) -> Iterator[GroupResult]:
    """Every loss term and gradient norm in float32 against those of the file."""
    reference = read_reference(path)
    ours = released_terms(reference, LossTerms(**_without_total(found.terms)))
    errors = [relative_error(value, reference.values[f"loss/{key}"]) for key, value in ours.items()]
    yield GroupResult("float32/file/terms", max(errors), OUTPUT_TOLERANCE)
    parameters = dict(reference.model.named_parameters())
    for name, gradient in found.gradients.items():
        parameters[name].grad = gradient
    errors = [
        gradient_error(parameters[our_name(name) or ""], wanted)
        for name, wanted in group(reference.values, "grad_norm/").items()
    ]
    yield GroupResult("float32/file/grad_norm", max(errors), GRADIENT_TOLERANCE)


def _without_total(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: terms[name] for name in loss_term_names()}


def _computed(
    path: Path, workers: Workers, dtype: torch.dtype, kind: Kind, num_steps: int
) -> Outcome:
    reference = read_reference(path)
    batch = converted(reference.batch, dtype)
    if kind.ignoring:
        batch = replace(batch, ignored=ignored_pairs(batch))
    if workers is not ALONE:
        shards = uneven(len(batch.frames), workers.size)
        batch = own_part(batch, shards, workers.rank)
    return compute(reference, batch, workers, dtype, kind.hard, num_steps)


def run_rank(path: Path) -> list[tuple[str, float, float]]:
    """Results of this process."""
    return [(check.group, check.error, check.tolerance) for check in check_rank(path)]


def check(path: Path, world: int) -> list[GroupResult]:
    """Results of all ranks, the worst of each group.

    Raises:
        RuntimeError: A process failed.
    """
    found = run_in_group(world, run_rank, path)
    by_group = zip(*found, strict=True)
    return [max((GroupResult(*rank) for rank in ranks), key=_error) for ranks in by_group]


def _error(result: GroupResult) -> float:
    return result.error


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--world", type=click.IntRange(1), default=2, show_default=True)
def main(file: Path, world: int) -> None:
    """Check N workers against one process and against FILE, in the reference format."""
    failed = 0
    for result in check(file.resolve(), world):
        failed += not result.passed
        verdict = "ok" if result.passed else "MISS"
        click.echo(
            f"{result.group:38} {result.error:.2e} (allowed {result.tolerance:.0e}) {verdict}"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

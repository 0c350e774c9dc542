"""Compiled encoders against the plain ones: losses, gradients and a whole short trial.

Run `python -m tests.compiled_parity`; takes minutes where nothing is in the compiler's cache.
`--quick` takes seconds: it captures the encoders and their gradients as the compiler does, runs
them uncompiled, and trains nothing. A process of its own, because the shape checks that run under
pytest cannot be compiled.
"""

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from prvr_model.files.folder import Folder
from prvr_model.losses.objective import compute_losses
from prvr_model.network.encoding import Encoders
from prvr_model.reporting import Decision
from prvr_model.settings import SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.train_loop import train
from tests.prvr_model.tiny import TINY_DATA, random_batch, random_draws, tiny_model, tiny_settings

# One scale: each more is compiled anew.
SETTINGS = tiny_settings(
    model__dropout=0.0, model__input_dropout=0.0, model__num_scales=1, training__epochs=2
)
# Captions of each video: other numbers of captions, then of videos too.
BATCHES = ([2, 1, 3], [1, 2, 2], [3, 3], [2, 2, 2, 2])


def main(arguments: list[str]) -> int:
    """Compare and print the relative errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="capture, but do not compile")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        torch.compile = functools.partial(torch.compile, backend="aot_eager")
        errors = batch_errors(BATCHES[:2])
    else:
        errors = {**batch_errors(BATCHES), "rows": trial_error()}
    print(json.dumps(errors))  # noqa: T201  (a program's result)
    return 0


def batch_errors(batches: Sequence[list[int]]) -> dict[str, float]:
    """Largest errors over some batches, of the loss terms and of all gradients together."""
    model = tiny_model(SETTINGS)
    plain, compiled = Encoders(model), Encoders(model, SpeedSettings(compile=True))
    found = []
    for number, captions in enumerate(batches):
        wanted, given = (_numbers(encoders, captions, number) for encoders in (plain, compiled))
        found.append([float((b - a).norm() / a.norm()) for a, b in zip(wanted, given, strict=True)])
    losses, gradients = (max(column) for column in zip(*found, strict=True))
    return {"losses": losses, "gradients": gradients}


def _numbers(encoders: Encoders, captions: list[int], seed: int) -> tuple[Tensor, Tensor]:
    model = encoders.model
    batch = random_batch(SETTINGS, captions, seed)
    model.zero_grad()
    draws = random_draws(batch, seed)
    terms = compute_losses(model, batch, SETTINGS.losses, draws, False, encoders)
    terms.total.backward()
    gradients = [
        parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None
    ]
    return terms.stacked().detach(), torch.cat(gradients)


def trial_error() -> float:
    """Largest error of what a short trial reports of its steps and of its collapse."""
    with tempfile.TemporaryDirectory() as place:
        write_synthetic(Path(place) / "tiny.store", TINY_DATA)
        store = FeatureStore.open(Path(place) / "tiny.store")
        results = [
            train(
                SETTINGS,
                store,
                Folder.open(Path(place) / name),
                lambda _: Decision.CONTINUE,
                SpeedSettings(compile=name == "compiled"),
            )
            for name in ("plain", "compiled")
        ]
    kinds = ("train/", "val/collapse/")
    return max(
        abs(other.metrics[name] - value) / max(abs(value), 1e-3)
        for report, other in zip(results[0].reports, results[1].reports, strict=True)
        for name, value in report.metrics.items()
        if name.startswith(kinds)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

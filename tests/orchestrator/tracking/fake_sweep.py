"""Events of a made-up sweep, as a driver writes them."""

import hashlib
import math
import random
from collections.abc import Iterator
from typing import Any

from prvr_model.settings import build_settings, flat_settings

START_MS = 1_790_000_000_000
FINGERPRINT = "0f1e2d3c" * 8
RECALLS = ("R1", "R5", "R10", "R100", "SumR")
LOSSES = ("clip_infonce", "frame_infonce", "clip_triplet", "frame_triplet", "tcpl_distance",
          "tcpl_angle", "cbva")  # fmt: skip


def sweep_events(
    sweep: str = "cbva", num_trials: int = 4, epochs: int = 9, seed: int = 7
) -> list[dict[str, Any]]:
    """A whole sweep: trials one after the other, some pruned, the third one failed."""
    events = [sweep_started(sweep)]
    random_numbers = random.Random(seed)
    now = START_MS
    counts: dict[str, int] = {}
    for number in range(num_trials):
        trial = list(trial_events(number, epochs, now, random_numbers))
        events += trial
        now = trial[-1]["timestamp_ms"]
        counts[trial[-1]["state"]] = counts.get(trial[-1]["state"], 0) + 1
    events.append(
        {"kind": "sweep_ended", "state": "finished", "counts": counts, "timestamp_ms": now + 50}
    )
    return events


def sweep_started(sweep: str = "cbva", trials: int = 16) -> dict[str, Any]:
    return {
        "kind": "sweep_started",
        "sweep": sweep,
        "question": "Which loss weights and merge ratio suit this data?",
        "spec_yaml": f"name: {sweep}\nquestion: Which ...?\n",
        "params": {
            "objective.metric": "val/SumR",
            "objective.direction": "maximize",
            "search.sampler": "tpe",
            "search.trials": trials,
            "early_stopping.method": "asha",
        },
        "tags": {
            "prvr.data": "builtin",
            "prvr.data_fingerprint": FINGERPRINT,
            "mlflow.user": "ada",
        },
        "data": {
            "name": "builtin",
            "fingerprint": FINGERPRINT,
            "source": "",
            "generated": {"seed": 1, "train_videos": 160},
        },
        "timestamp_ms": START_MS,
    }


def trial_events(
    number: int, epochs: int, now: int, numbers: random.Random
) -> Iterator[dict[str, Any]]:
    parameters = {
        "losses.tau": round(numbers.uniform(0.5, 0.95), 2),
        "model.merge_ratio": numbers.uniform(0.3, 1.0),
        "losses.tcpl_angle_weight": math.exp(numbers.uniform(math.log(5), math.log(60))),
        "losses.num_levels": numbers.randint(1, 5),
        "model.num_scales": numbers.randint(1, 8),
    }
    settings = build_settings("tvr", {**parameters, "training.epochs": epochs})
    yield {
        "kind": "trial_started",
        "number": number,
        "key": hashlib.sha256(repr(parameters).encode()).hexdigest()[:16],
        "seed": 7,
        "params": flat_settings(settings),
        "parameters": parameters,
        "tags": {
            "prvr.code_version": "0.1.0",
            "prvr.version.torch": "2.13.0",
            "mlflow.user": "ada",
        },
        "timestamp_ms": now,
    }
    state = "failed" if number == 2 else "pruned" if number % 4 == 3 else "complete"
    last = epochs if state == "complete" else epochs // 3
    best, ceiling = 0.0, numbers.uniform(150, 260)
    for epoch in range(1, last + 1):
        now += numbers.randint(900, 1500)
        metrics = epoch_metrics(epoch, ceiling, numbers)
        best = max(best, metrics["val/SumR"])
        yield {
            "kind": "epoch",
            "number": number,
            "epoch": epoch,
            "timestamp_ms": now,
            "metrics": metrics,
        }
    cause = {
        "kind": "NonFiniteError",
        "message": "losses/cbva is not finite in epoch 4, step 17",
        "traceback": "Traceback (most recent call last):\n  ...\nNonFiniteError: losses/cbva",
    }
    yield {
        "kind": "trial_ended",
        "number": number,
        "state": state,
        "value": best,
        "best_epoch": last,
        "cause": cause if state == "failed" else None,
        "timestamp_ms": now + 20,
    }


def epoch_metrics(epoch: int, ceiling: float, numbers: random.Random) -> dict[str, float]:
    reached = ceiling * (1 - math.exp(-epoch / 4)) + numbers.gauss(0, 2)
    shares = (0.11, 0.21, 0.27, 0.41, 1.0)
    metrics = {f"train/{name}": 3 * math.exp(-epoch / 6) + 0.1 * len(name) for name in LOSSES}
    metrics["train/total"] = sum(metrics.values())
    metrics["train/learning_rate"] = 3e-4 * (1 - epoch / 100)
    metrics["train/gradient_norm"] = 2 + numbers.random()
    metrics["train/mean_segments"] = 12.5
    for prefix, factor in (("val", 1.0), ("val/clip", 0.93), ("val/frame", 0.96)):
        for name, share in zip(RECALLS, shares, strict=True):
            metrics[f"{prefix}/{name}"] = reached * share * factor
    metrics["time/epoch_s"] = 1.1 + 0.2 * numbers.random()
    metrics["time/evaluation_s"] = 0.12
    metrics["time/videos_per_s"] = 410 + 30 * numbers.random()
    metrics["memory/peak_mb"] = 640.0
    return metrics

"""More work for a sweep that exists: more trials, seeds or epochs, another budget or prices.

An extension never takes anything away, and it is refused where the larger sweep would not equal
one that was launched as large.
"""

import json
from dataclasses import dataclass
from typing import Any

from orchestrator.base.errors import ResumeError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.prices import Prices, given_prices
from orchestrator.spec.sweep_spec import SCHEDULE_EPOCHS, SweepSpec
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.pruners import build_pruner, pruner_arguments
from orchestrator.study.reader import JUDGED_SEEDS, NUM_TRIALS
from orchestrator.study.samplers import build_sampler, sampler_record
from orchestrator.study.study import SweepStudy


@dataclass(frozen=True)
class Extension:
    """How a sweep is to change; None leaves a number as it was.

    Args:
        trials: Trials in all.
        epochs: Epochs of a trial.
        seeds: Seeds of every row of an ablation.
        budget: Changes of the budget, `KEY=VALUE` each.
        prices: Prices from now on.
    """

    trials: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    budget: tuple[str, ...] = ()
    prices: Prices | None = None

    def money_overrides(self, recorded: Prices | None) -> list[str]:
        """What changes budget and prices: a sweep that records none gets those of `PRVR_PRICES`.

        Raises:
            SpecError: The file that `PRVR_PRICES` names is no list of prices.
        """
        prices = self.prices or (None if recorded else given_prices())
        overrides = [f"budget.{change.strip()}" for change in self.budget]
        if prices is not None:
            values = prices.model_dump(mode="json", exclude_none=True)
            overrides.append(f"prices={json.dumps(values, ensure_ascii=False)}")
        return overrides


def extended_spec(before: SweepSpec, extension: Extension, kept: dict[str, Any]) -> SweepSpec:
    """The spec of the larger sweep.

    Args:
        before: The spec until now.
        extension: What changes.
        kept: Attributes of the sweep's study.

    Raises:
        ResumeError: The sweep cannot be extended in this way.
        SpecError: The larger spec is invalid, e.g. it wants more trials than its grid has points.
    """
    if extension.trials is not None:
        _refuse_trials(before, extension.trials, kept)
    overrides = extension.money_overrides(before.prices)
    if extension.seeds is not None:
        overrides.append(_seeds_override(before, extension.seeds))
    if extension.trials is not None:
        _refuse_less("--trials", extension.trials, before.num_trials)
        overrides.append(f"search.trials={extension.trials}")
    if extension.epochs is not None:
        _refuse_less("--epochs", extension.epochs, before.max_epochs)
        _refuse_epochs(before, extension.epochs)
        overrides.append(f"early_stopping.max_epochs={extension.epochs}")
    return read_spec(kept["spec_yaml"], overrides, f"sweep {before.name}")


def _refuse_trials(before: SweepSpec, trials: int, kept: dict[str, Any]) -> None:
    if before.ablation is not None:
        raise ResumeError(
            f"--trials {trials}: sweep {before.name!r} is an ablation: its trials are its rows on "
            "each of its seeds; allowed: --seeds"
        )
    if TrialPlan.of(kept).trials:
        raise ResumeError(
            f"--trials {trials}: sweep {before.name!r} has confirmed its best on fresh seeds, and "
            "a longer search would choose once more; launch it under another name "
            f"(--set name=... --set search.trials={trials})"
        )


def _seeds_override(before: SweepSpec, seeds: int) -> str:
    """The override that gives every row of an ablation this number of seeds."""
    if before.ablation is None:
        raise ResumeError(
            f"--seeds {seeds}: sweep {before.name!r} is a search, whose trials share one seed; "
            "allowed: --trials"
        )
    if before.ablation.race is not None:
        raise ResumeError(
            f"--seeds {seeds}: sweep {before.name!r} is a race, which adds seeds itself where a "
            "difference is undecided; its looks at the results were planned before its first "
            "seed, and more looks would find more differences by chance; launch it under another "
            "name with other seeds"
        )
    _refuse_less("--seeds", seeds, before.ablation.num_seeds)
    if isinstance(before.ablation.seeds, int):
        return f"ablation.seeds={seeds}"
    return f"ablation.seeds={list(before.seeds(seeds))}"


def _refuse_less(option: str, wanted: int, present: int) -> None:
    if wanted < present:
        raise ResumeError(
            f"{option} {wanted}: the sweep has {present}, and a resume takes nothing away; "
            f"allowed: {present} or more"
        )


def _refuse_epochs(before: SweepSpec, epochs: int) -> None:
    last_epoch = min(before.setting_values(SCHEDULE_EPOCHS))
    if epochs > last_epoch:
        raise ResumeError(
            f"--epochs {epochs}: the learning rates of this sweep end at epoch {last_epoch} "
            f"({SCHEDULE_EPOCHS}); a longer schedule differs from the first step on and cannot "
            f"continue these trials; allowed: at most {last_epoch}, or launch a sweep of another "
            f"name with {SCHEDULE_EPOCHS}={epochs}"
        )
    if before.early_stopping.method == "hyperband" and epochs != before.max_epochs:
        raise ResumeError(
            f"--epochs {epochs}: hyperband divided the trials by the {before.max_epochs} epochs "
            "that were planned, and would have divided them differently; launch a sweep of "
            "another name"
        )


def write_extension(url: str, before: SweepSpec, spec: SweepSpec, kept: dict[str, Any]) -> None:
    """Write the larger sweep into the study; complete trials that get more epochs are reopened.

    Args:
        url: Optuna storage of the study.
        before: The spec until now.
        spec: The spec from now on; an equal one changes nothing.
        kept: Attributes of the study.
    """
    if spec == before:
        return
    stopping = spec.early_stopping
    changed = {
        "spec_yaml": spec.dump_yaml(),
        NUM_TRIALS: spec.num_trials,
        "sampler": sampler_record(spec),
        "pruner": {"kind": stopping.method, **pruner_arguments(stopping)},
        **_judged_seeds(before, spec, kept),
    }
    study = SweepStudy.reopen(url, spec.name, build_sampler(spec), build_pruner(stopping))
    study.extend(url, changed, before.max_epochs, spec.max_epochs)


def _judged_seeds(before: SweepSpec, spec: SweepSpec, kept: dict[str, Any]) -> dict[str, Any]:
    """Notes that a table was judged before it gets more seeds; its next verdicts allow for it."""
    if before.ablation is None or kept.get("state") != "finished" or before.seeds() == spec.seeds():
        return {}
    return {JUDGED_SEEDS: [*kept.get(JUDGED_SEEDS, ()), before.ablation.num_seeds]}

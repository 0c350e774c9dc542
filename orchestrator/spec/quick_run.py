"""A sweep at a fraction of its budget, to see whether it runs before hours are spent on it."""

import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.spec.ablation import EPOCHS
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import load_any
from orchestrator.spec.sweep_spec import SCHEDULE_EPOCHS, SweepSpec

SUFFIX = "-quick"

# Fewest epochs in which the learning rate rises, is high and falls.
_EPOCHS = 3
# Fewest seeds that can differ.
_SEEDS = 2
# Trials in which a search draws, compares and chooses.
_TRIALS = 4
# Names of the number of epochs in overrides.
_BUDGET = {EPOCHS, "early_stopping.max_epochs"}
_QUESTION = "Does it run? Its numbers do not answer: "


def load_any_quick(
    path: Path, overrides: Sequence[str] = (), *, runs_elsewhere: bool = False
) -> SweepSpec | JointSpec:
    """Read a sweep's YAML file as `load_any`, with a budget that only shows whether it runs.

    Cuts epochs and the schedule of the learning rate together, and seeds, races and trials, of
    several data sets alike. The sweep gets its own name, says in its question that it is quick, so
    that nobody takes it for the whole sweep, and registers no model. Overrides win over the cuts.

    Args:
        path: The file.
        overrides: `path=value` texts.
        runs_elsewhere: As for `load_any`.

    Raises:
        SpecError: All problems of the whole sweep, or of the quick one.
    """
    whole = load_any(path, overrides, runs_elsewhere=runs_elsewhere)
    cut = _cut(whole.first if isinstance(whole, JointSpec) else whole, overrides, whole.name)
    return load_any(path, [*cut, *overrides], runs_elsewhere=runs_elsewhere)


def _cut(whole: SweepSpec, overrides: Sequence[str], name: str | None = None) -> list[str]:
    """The overrides that cut a sweep; `name` is that of the whole where `whole` is a part."""
    asked = {override.partition("=")[0].strip().removeprefix("settings.") for override in overrides}
    epochs = whole.max_epochs if asked & _BUDGET else min(_EPOCHS, whole.max_epochs)
    return [
        *_cut_epochs(whole, epochs),
        *_cut_trials(whole),
        f"name={_quick_name(whole.name, name)}",
        f"question={json.dumps(_QUESTION + whole.question, ensure_ascii=False)}",
        "register.top=0",
    ]


def quick_line(spec: SweepSpec) -> str:
    """The line about a quick sweep that is shown before it runs."""
    seeds = f" and {spec.ablation.num_seeds} seeds" if spec.ablation else ""
    return (
        f"--quick: {spec.max_epochs} epochs{seeds}, to see that everything works; its numbers "
        "do not answer the question, and no model is registered"
    )


def _quick_name(part: str, whole: str | None) -> str:
    # Names have at most 64 letters, those of parts included.
    name = part if whole is None else whole
    return name[: 64 - len(SUFFIX) - len(part) + len(name)] + SUFFIX


def _cut_epochs(spec: SweepSpec, epochs: int) -> list[str]:
    cut = [f"settings.{EPOCHS}={epochs}"] if epochs < spec.max_epochs else []
    if SCHEDULE_EPOCHS not in spec.space:
        cut.append(f"settings.{SCHEDULE_EPOCHS}={epochs}")
    stopping = spec.early_stopping
    if stopping.method != "none" and stopping.first_rung >= epochs:
        cut.append(f"early_stopping.first_rung={max(1, epochs // stopping.reduction)}")
    return cut


def _cut_trials(spec: SweepSpec) -> list[str]:
    """Fewer seeds and no race, or fewer trials; a grid keeps all its points."""
    if spec.ablation is not None:
        seeds = [*spec.seeds()][:_SEEDS]
        listed = isinstance(spec.ablation.seeds, tuple)
        return [f"ablation.seeds={seeds if listed else len(seeds)}", "ablation.race=null"]
    assert spec.search is not None, "a spec has a search or an ablation"
    cut = []
    if spec.search.trials is not None and spec.search.sampler != "grid":
        cut.append(f"search.trials={min(_TRIALS, spec.num_trials)}")
    if spec.confirm is not None:
        cut += [
            f"confirm.top={min(_SEEDS, spec.confirm.top)}",
            f"confirm.seeds={min(_SEEDS, spec.confirm.seeds)}",
        ]
    return cut

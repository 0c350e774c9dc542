"""Warnings of what a spec allows but its author probably did not intend."""

from orchestrator.spec.ablation import Row
from orchestrator.spec.parameters import CategoricalParameter, uneven
from orchestrator.spec.setting_schema import base_value
from orchestrator.spec.sweep_spec import HARD_NEGATIVE_EPOCH, SCHEDULE_EPOCHS, SweepSpec

PAPER_NOTE = "protocol paper: val is both selected on and reported, so its numbers are optimistic"
_PAPER = (
    "protocol paper: val is both selected on and reported, as the field does; its numbers are "
    "optimistic, and test stays untouched"
)


def spec_warnings(spec: SweepSpec) -> tuple[str, ...]:
    """Warnings of what is allowed but probably not intended, one sentence each."""
    return (
        *([_PAPER] if spec.protocol == "paper" else []),
        *_hard_negative_warnings(spec),
        *_schedule_warnings(spec),
        *_search_warnings(spec),
        *_goal_warnings(spec),
        *_idle_warnings(spec),
        *_concurrency_warnings(spec),
        *_compile_warnings(spec),
    )


# A table of more points is hard to read, and a sampler finds the best with far fewer trials.
_LARGE_GRID = 1000


def _hard_negative_warnings(spec: SweepSpec) -> list[str]:
    switches = [epoch for epoch in spec.setting_values(HARD_NEGATIVE_EPOCH) if epoch]
    if not switches:
        return []
    switch, rung = max(switches), spec.early_stopping.first_rung
    if switch >= spec.max_epochs:
        return [
            f"{HARD_NEGATIVE_EPOCH} {switch} is not reached in {spec.max_epochs} epochs: no trial "
            "sees hard negatives; lower it, or set null if none should"
        ]
    if spec.early_stopping.method == "none" or rung > switch:
        return []
    return [
        f"early_stopping.first_rung {rung} comes before the hard negatives "
        f"({HARD_NEGATIVE_EPOCH} {switch}): it compares trials under another loss than they end "
        f"with; use {switch + 1} or more"
    ]


def _schedule_warnings(spec: SweepSpec) -> list[str]:
    horizon = max(spec.setting_values(SCHEDULE_EPOCHS))
    if spec.max_epochs * 2 >= horizon:
        return []
    left = 1 - spec.max_epochs / horizon
    return [
        f"trials run {spec.max_epochs} of {SCHEDULE_EPOCHS} {horizon}: the learning rate ends at "
        f"{left:.0%} of its peak; set {SCHEDULE_EPOCHS} {spec.max_epochs} unless the trials are "
        "to be continued"
    ]


def _search_warnings(spec: SweepSpec) -> list[str]:
    texts = [
        f"search.parameters.{path}: {text}"
        for path, parameter in spec.space.items()
        if not isinstance(parameter, CategoricalParameter) and (text := uneven(parameter))
    ]
    if spec.search is None:
        return _ablation_warnings(spec)
    if spec.objective.direction == "minimize":
        texts.append(f"objective.direction minimize: {spec.objective.metric} is better when larger")
    chosen = [path for path, parameter in spec.space.items() if parameter.type == "categorical"]
    if spec.search.sampler == "qmc" and chosen:
        texts.append(f"qmc draws categorical parameters at random: {', '.join(chosen)}")
    if spec.search.sampler == "grid" and spec.num_trials > _LARGE_GRID:
        texts.append(f"the grid has {spec.num_trials} points; a sampler needs far fewer trials")
    stopping = spec.early_stopping
    if stopping.method in ("median", "none") and "reduction" in stopping.model_fields_set:
        texts.append(f"early_stopping.reduction has no effect under method: {stopping.method}")
    return texts


def _goal_warnings(spec: SweepSpec) -> list[str]:
    """That trials are stopped early by the first of several objectives."""
    method = spec.early_stopping.method
    if not spec.objectives or method == "none":
        return []
    return [
        f"early_stopping.method {method} compares trials by {spec.objective.metric} alone, so "
        "cheap models that would be on the front may be stopped; method: none trains all to the end"
    ]


# Below it an interval over seeds is so wide that hardly any difference shows.
_FEW_SEEDS = 3


def _ablation_warnings(spec: SweepSpec) -> list[str]:
    assert spec.ablation is not None
    seeds = spec.ablation.num_seeds
    if seeds >= _FEW_SEEDS or spec.ablation.race:
        return []
    said = "one seed shows no difference" if seeds == 1 else "two seeds show hardly any difference"
    return [f"ablation.seeds {seeds}: {said} to be real; use {_FEW_SEEDS} or more"]


# A parameter, the setting that switches it on, and the values with which it does.
_SWITCHES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("losses.tau", "losses.cross_branch", ("adaptive",)),
    ("losses.num_levels", "losses.cross_branch", ("adaptive",)),
    ("losses.smallest_level", "losses.cross_branch", ("adaptive",)),
    ("losses.cbva_weight", "losses.cross_branch", ("fixed", "adaptive")),
    ("model.merge_ratio", "model.clips", ("op_tome",)),
)


def _idle_warnings(spec: SweepSpec) -> list[str]:
    """Parameters that change nothing, because what they belong to is switched off."""
    texts = _idle_rows(spec)
    for path, switch, needed in _SWITCHES:
        values = spec.setting_values(switch)
        if path in spec.space and not set(values) & set(needed):
            found = " or ".join(map(str, values))
            texts.append(f"search.parameters.{path} changes nothing under {switch}: {found}")
        elif _lacks_condition(spec, path, switch) and (idle := set(values) - set(needed)):
            texts.append(
                f"search.parameters.{path} changes nothing where {switch} is "
                f"{' or '.join(sorted(map(str, idle)))}; give it when: "
                f"{{{switch}: {needed[0] if len(needed) == 1 else list(needed)}}}"
            )
    return texts


def _lacks_condition(spec: SweepSpec, path: str, switch: str) -> bool:
    """Whether both are searched, the parameter in all trials."""
    return path in spec.space and switch in spec.space and switch not in spec.space[path].when


def _idle_rows(spec: SweepSpec) -> list[str]:
    """Rows of an ablation that set something which is switched off in them."""
    idle: dict[str, list[str]] = {}
    for row in spec.rows[1:]:
        start = {**spec.settings, **row.overrides}
        key_path = ".".join(("ablation", *row.key_path))
        for path, switch, needed in _SWITCHES:
            value = base_value(switch, spec.preset, start)
            if path in _own_overrides(spec, row) and value not in needed:
                text = f"{key_path}: {path} changes nothing under {switch}: {value}"
                idle.setdefault(text, []).append(row.name)
    return [
        f"{text} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for text, names in idle.items()
    ]


def _own_overrides(spec: SweepSpec, row: Row) -> set[str]:
    """Settings that a row itself changes."""
    assert spec.ablation is not None, "only an ablation has rows"
    return set(spec.ablation.variants.get(row.name, spec.ablation.factors))


def _concurrency_warnings(spec: SweepSpec) -> list[str]:
    texts = []
    at_once, trials = spec.concurrency or 1, spec.num_trials
    if at_once > trials:
        texts.append(f"concurrency {at_once} exceeds the {trials} trials")
    elif spec.search and spec.search.sampler == "tpe" and at_once > 1 and at_once * 2 > trials:
        texts.append(
            f"concurrency {at_once} of {trials} trials: tpe draws most of them before it knows "
            "a result; use less, or sampler: random"
        )
    if spec.speed.threads > spec.resources.cpus:
        texts.append(
            f"speed.threads {spec.speed.threads} exceed resources.cpus {spec.resources.cpus}: "
            "trials at once compete for CPUs"
        )
    if spec.resources.gpus and spec.speed.device == "cpu":
        texts.append(f"resources.gpus {spec.resources.gpus} stay idle under speed.device cpu")
    return texts


def _compile_warnings(spec: SweepSpec) -> list[str]:
    if not spec.speed.compile or spec.speed.device != "cpu":
        return []
    return [
        "speed.compile on a processor: an epoch took twice as long as without, after 220 s of "
        "compiling (hidden size 96, two threads); leave it out"
    ]

"""Trials that may follow the first ones: seeds of a race, and fresh runs of a search's best."""

from orchestrator.spec.ablation import SEED
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.racing import Race


def race_of(spec: SweepSpec) -> Race | None:
    """The plan of an ablation's race; None: there is none."""
    if spec.ablation is None or spec.ablation.race is None:
        return None
    return Race.planned(spec.ablation.num_seeds, spec.ablation.race.max_seeds)


def most_trials(spec: SweepSpec) -> int:
    """Trials of a sweep if every round that may come does: nothing decided, all confirmed."""
    if spec.ablation is not None and spec.ablation.race is not None:
        return len(spec.rows) * spec.ablation.race.max_seeds
    if spec.confirm is not None:
        return spec.num_trials + min(spec.confirm.top, spec.num_trials) * spec.confirm.seeds
    return spec.num_trials


def fresh_seeds(spec: SweepSpec) -> tuple[int, ...]:
    """Seeds of the confirmation, none of them the search's."""
    if spec.confirm is None:
        return ()
    (used,) = spec.setting_values(SEED)
    return tuple(range(used + 1, used + 1 + spec.confirm.seeds))

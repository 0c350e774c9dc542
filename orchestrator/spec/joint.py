"""A sweep over several data sets: a sweep for each of them, and what is asked of all together.

Each part is a whole sweep of its own name. An ablation has the same rows and seeds on each data
set. A search runs on the first one; the configurations that it confirms are the rows of an ablation
on the others, with the same fresh seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.problems import Problem, shown
from orchestrator.spec.sections import DataSource
from orchestrator.spec.setting_schema import base_value
from orchestrator.spec.sweep_spec import SweepSpec, fresh_seeds
from orchestrator.spec.yaml_text import dump_yaml

TRANSFER = "transfer"
"""Key that asks for every winner's scores on the other data sets."""
HOW = "data: {NAME: STORE, NAME: STORE}"
"""How a file names several data sets."""
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True)
class JointSpec:
    """A sweep over several data sets.

    Args:
        name: Its name; that of a part is followed by the name of its data set.
        parts: The sweep of each data set, by its name. Those of a search but the first stand for
            the ablations that `rows_spec` makes once the search has ended.
        transfer: Whether each data set's winner is scored on the others.
    """

    name: str
    parts: Mapping[str, SweepSpec]
    transfer: bool = False

    @property
    def first(self) -> SweepSpec:
        """The sweep that runs first."""
        return next(iter(self.parts.values()))

    @property
    def question(self) -> str:
        """What the sweep is to answer."""
        return self.first.question

    @property
    def is_search(self) -> bool:
        """Whether the first part searches."""
        return self.first.search is not None

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts' sweeps, in the order in which they run."""
        return tuple(part.name for part in self.parts.values())

    def dump_yaml(self) -> str:
        """The resolved spec; loading it gives an equal one."""
        values = self.first.dump_values()
        values["name"] = self.name
        data = {name: part.data for name, part in self.parts.items()}
        values["data"] = {
            name: source.model_dump(mode="json", exclude_none=True) for name, source in data.items()
        }
        return dump_yaml({**values, TRANSFER: self.transfer})


def data_sets(data: object) -> tuple[str, ...]:
    """Names of the data sets where `data` maps two names or more to stores; none for one."""
    if not isinstance(data, Mapping) or len(data) < 2:
        return ()
    if any(key in DataSource.model_fields for key in data):
        return ()
    return tuple(map(str, data))


def raw_problems(raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the keys of several data sets, before their parts are checked."""
    problems = [
        Problem(("data", name), f"found {shown(name)} as a name; allowed: a-z, 0-9, - and _")
        for name in data_sets(raw["data"])
        if not name or set(name) - _LETTERS
    ]
    if not isinstance(raw.get(TRANSFER, False), bool):
        found = f"found {shown(raw[TRANSFER])}; allowed: true or false"
        problems.append(Problem((TRANSFER,), found))
    return problems


def joint_problems(joint: JointSpec) -> list[Problem]:
    """What several data sets do not allow."""
    first, problems = joint.first, _same_data(joint)
    if first.ablation is not None and first.ablation.race is not None:
        message = (
            "found with several data sets, whose rows need the same seeds on each; a race would "
            "end them apart; allowed: no race, and ablation.seeds as large as a row may get"
        )
        problems.append(Problem(("ablation", "race"), message))
    if not joint.is_search:
        return problems
    if first.confirm is None:
        message = (
            "missing; with several data sets the configurations that a search confirms on the "
            "first one run on the others too: add confirm: {top: K, seeds: N}, or name one data set"
        )
        problems.append(Problem(("confirm",), message))
    if first.objective.direction == "minimize":
        message = "found minimize with several data sets; allowed: maximize"
        problems.append(Problem(("objective", "direction"), message))
    if first.resources.is_elastic:
        message = (
            "found in a search over several data sets, whose confirmed configurations are rows of "
            "an ablation on the others, where the number of workers must not change; leave it out"
        )
        problems.append(Problem(("resources", "min_workers"), message))
    return problems


def _same_data(joint: JointSpec) -> list[Problem]:
    problems = []
    sources = [(name, part.data) for name, part in joint.parts.items()]
    for place, (name, source) in enumerate(sources):
        twin = next((other for other, earlier in sources[:place] if earlier == source), None)
        if twin is not None:
            message = f"is the same data as {twin}, which would count twice; leave one out"
            problems.append(Problem(("data", name), message))
    return problems


def rows_spec(part: SweepSpec, configurations: Mapping[str, Mapping[str, Any]]) -> SweepSpec:
    """The ablation of a later data set: the configurations that the search confirmed as rows.

    A setting that one configuration changes and another leaves alone (a conditional parameter) is
    written out for both, as every row starts from the baseline's changes.

    Args:
        part: The part as the file describes it: a search with a confirmation.
        configurations: Parameters by row; the first one is what the others are compared with.
    """
    paths = list(dict.fromkeys(path for row in configurations.values() for path in row))
    rows = {
        name: {path: base_value(path, part.preset, {**part.settings, **row}) for path in paths}
        for name, row in configurations.items()
    }
    (baseline, start), *others = rows.items()
    values = part.dump_values()
    for key in ("search", "confirm", "start"):
        values.pop(key, None)
    values["early_stopping"] = {**values["early_stopping"], "method": "none"}
    values["ablation"] = {
        "design": "one_in",
        "baseline": {"name": baseline, "set": start},
        "variants": dict(others),
        "seeds": list(fresh_seeds(part)),
    }
    return SweepSpec.model_validate(values)

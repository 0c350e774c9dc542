"""The section `ablation` of a sweep's YAML: a baseline, variants of it, and the seeds of all.

`ablation_rows` makes the rows of its table: what each one changes in the settings of the sweep.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.spec.problems import refuse, shown
from orchestrator.spec.sections import PathProblems, SpecSection
from orchestrator.spec.setting_schema import checked_settings, path_problem, value_problem

SEED = "training.seed"
EPOCHS = "training.epochs"

Design: TypeAlias = Literal["ladder", "one_out", "one_in", "grid", "swap"]
Overrides: TypeAlias = dict[str, Any]
"""Values by dotted path of the setting."""

# Names are columns of tables and values of tags.
_LONGEST_ROW_NAME = 40
# Nobody reads a table of more rows, and after correction its verdicts show nothing.
_MOST_ROWS = 1000
# Most seeds under `race: true`, as a multiple of the seeds.
_RACE_FACTOR = 3

# Fewest seeds at a race's first look: it must see how much seeds differ.
_LEAST_RACED = 2

# Settings that a row cannot change, and why.
_SHARED = {
    SEED: "all rows run on the same seeds: use ablation.seeds",
    EPOCHS: "all rows train equally long: use settings.training.epochs",
}


def _override_problem(path: str, value: object) -> str | None:
    return path_problem(path) or _SHARED.get(path) or value_problem(path, value)


def _flat_overrides(value: object) -> object:
    """Overrides by dotted path, each checked against its setting."""
    return checked_settings(value, problem=_override_problem)


def _checked_name(name: str) -> str:
    if name and name == name.strip() and len(name) <= _LONGEST_ROW_NAME and name.isprintable():
        return name
    raise ValueError(
        f"found {shown(name)} as a name; allowed: 1 to {_LONGEST_ROW_NAME} printable characters"
    )


def _named_overrides(value: object) -> object:
    """Check each variant separately, so that a mistake in one hides none in another."""
    if not isinstance(value, Mapping):
        return value
    problems: PathProblems = []
    for name, overrides in value.items():
        if isinstance(overrides, Mapping) and not overrides:
            problems.append(((name,), "found no override; allowed: one setting or more"))
        if not isinstance(name, str):
            problems.append(((str(name),), f"found {shown(name)} as a name; allowed: text"))
    if problems:
        refuse(problems)
    return value


def _levels(value: object) -> object:
    """The levels of each factor, each checked against its setting."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    problems: PathProblems = []
    for path, levels in value.items():
        missing = path_problem(path) or _SHARED.get(path)
        if missing:
            problems.append(((path,), missing))
        elif not isinstance(levels, list | tuple) or len(levels) < 2:
            problems.append(
                ((path,), f"found {shown(levels)}; allowed: a list of 2 levels or more")
            )
        else:
            flat[path] = tuple(levels)
            problems.extend(_level_problems(path, flat[path]))
    if problems:
        refuse(problems)
    return flat


def _level_problems(path: str, levels: tuple[Any, ...]) -> PathProblems:
    problems: PathProblems = []
    for k, level in enumerate(levels):
        message = value_problem(path, level)
        if level in levels[:k]:
            message = f"found {shown(level)} twice; allowed: once"
        problems.extend([((path,), message)] if message else [])
    return problems


def _seed_list(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    wrong = [
        entry
        for entry in value
        if isinstance(entry, bool) or not isinstance(entry, int) or entry < 0
    ]
    if wrong or not value or len(set(value)) < len(value):
        raise ValueError(
            f"found {shown(value)}; allowed: a whole number >= 1 (how many), or a list of "
            "different whole numbers >= 0"
        )
    return tuple(value)


class Baseline(SpecSection):
    """The row that all others are compared with."""

    name: Annotated[str, AfterValidator(_checked_name)]
    """Its name in tables; default: full for one_out, else baseline."""
    overrides: Annotated[Overrides, BeforeValidator(_flat_overrides)] = Field({}, alias="set")
    """What it changes in `settings`; every row starts from these changes."""


class SeedRace(SpecSection):
    """More seeds for rows whose interval still overlaps the best."""

    max_seeds: int = Field(ge=2)
    """Most seeds of a row."""


class Ablation(SpecSection):
    """A table of variants, each trained on the same seeds."""

    design: Design
    """ladder: each variant on top of those before it; one_in: the baseline with one variant;
    one_out: the full model without one part; swap: other values of the same settings; grid: every
    combination of levels."""
    baseline: Baseline
    """The row that others are compared with."""
    variants: Annotated[
        dict[
            Annotated[str, AfterValidator(_checked_name)],
            Annotated[Overrides, BeforeValidator(_flat_overrides)],
        ],
        BeforeValidator(_named_overrides),
    ] = {}  # noqa: RUF012
    """What each variant changes, by its name; without variants only the baseline runs."""
    factors: Annotated[dict[str, tuple[Any, ...]], BeforeValidator(_levels)] = {}  # noqa: RUF012
    """Levels of each setting of a grid."""
    seeds: Annotated[int | tuple[int, ...], BeforeValidator(_seed_list)] = 3
    """Number of seeds, from settings.training.seed on, or a list of seeds."""
    race: SeedRace | None = None
    """Whether undecided rows get more seeds; true: up to three times as many."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:  # noqa: ANN401
        return _with_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [*self._factor_problems(), *self._name_problems(), *self._swap_problems()]
        if isinstance(self.seeds, int) and self.seeds < 1:
            problems.append((("seeds",), f"found {self.seeds}; allowed: a whole number >= 1"))
        if self.race and self.num_seeds < _LEAST_RACED:
            message = (
                f"found {self.num_seeds} with race; allowed: {_LEAST_RACED} or more, as one seed "
                "tells nothing of how much seeds differ"
            )
            problems.append((("seeds",), message))
        if self.race and self.race.max_seeds < self.num_seeds:
            message = f"found {self.race.max_seeds}, below the {self.num_seeds} of ablation.seeds"
            problems.append((("race", "max_seeds"), message))
        if problems:
            refuse(problems)
        return self

    @property
    def num_seeds(self) -> int:
        """Seeds of every row before a race adds more."""
        return self.seeds if isinstance(self.seeds, int) else len(self.seeds)

    def seed_values(self, first: int, count: int) -> tuple[int, ...]:
        """The first `count` seeds; a list continues with the numbers after its largest.

        Args:
            first: The setting training.seed, used if `seeds` is a number.
            count: Number of seeds.
        """
        listed = self.seeds if isinstance(self.seeds, tuple) else ()
        begin = max(listed) + 1 if listed else first
        return (*listed, *range(begin, begin + max(0, count - len(listed))))[:count]

    def _factor_problems(self) -> PathProblems:
        if self.design != "grid":
            found = f"found under design {self.design}; allowed: grid only, use variants"
            return [(("factors",), found)] if self.factors else []
        problems: PathProblems = []
        if self.variants:
            problems.append((("variants",), "found under design grid; allowed: factors"))
        if not self.factors:
            problems.append((("factors",), "missing; a grid needs a setting and its levels"))
        rows = 1
        for levels in self.factors.values():
            rows *= len(levels)
        if rows > _MOST_ROWS:
            problems.append((("factors",), f"{rows} combinations; allowed: at most {_MOST_ROWS}"))
        return problems

    def _name_problems(self) -> PathProblems:
        if self.baseline.name not in self.variants:
            return []
        message = "is the name of the baseline too; rename one of them"
        return [(("variants", self.baseline.name), message)]

    def _swap_problems(self) -> PathProblems:
        if self.design != "swap":
            return []
        wanted = set().union(*self.variants.values()) if self.variants else set()
        return [
            (
                ("variants", name),
                f"does not set {', '.join(sorted(missing))}; under swap all variants must",
            )
            for name, overrides in self.variants.items()
            if (missing := wanted - set(overrides))
        ]


def _with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(raw)
    baseline = values.get("baseline", {})
    if isinstance(baseline, Mapping):
        name = "full" if values.get("design") == "one_out" else "baseline"
        values["baseline"] = {"name": name} | dict(baseline)
    seeds, race = values.get("seeds", 3), values.get("race")
    if race is True and isinstance(seeds, int | list | tuple):
        count = len(seeds) if isinstance(seeds, list | tuple) else seeds
        values["race"] = {"max_seeds": max(2, _RACE_FACTOR * count)}
    elif race is False:
        values["race"] = None
    return values


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: Its name.
        overrides: What it changes in the sweep's settings, the baseline's changes included.
        key_path: Keys under which the section holds it.
    """

    name: str
    overrides: Overrides
    key_path: tuple[str, ...]


def ablation_rows(ablation: Ablation, base_values: Mapping[str, Any]) -> tuple[Row, ...]:
    """The baseline, then the variants in order.

    Args:
        ablation: The section.
        base_values: Value of each factor in the baseline; the combination that has all of them is
            the baseline and gets no second row.
    """
    base = Row(ablation.baseline.name, dict(ablation.baseline.overrides), ("baseline",))
    if ablation.design == "grid":
        return (base, *_combinations(ablation, base, base_values))
    return (base, *_variants(ablation, base))


def _variants(ablation: Ablation, base: Row) -> Iterator[Row]:
    """Each variant on top of the baseline; in a ladder also of the variants before it."""
    below = base.overrides
    for name, overrides in ablation.variants.items():
        changed = {**below, **overrides}
        yield Row(name, changed, ("variants", name))
        if ablation.design == "ladder":
            below = changed


def _combinations(ablation: Ablation, base: Row, base_values: Mapping[str, Any]) -> Iterator[Row]:
    """Every combination of levels on top of the baseline, the last factor varying fastest."""
    paths = tuple(ablation.factors)
    for levels in itertools.product(*ablation.factors.values()):
        overrides = dict(zip(paths, levels, strict=True))
        if overrides == {path: base_values[path] for path in paths}:
            continue
        yield Row(_combined_name(overrides), {**base.overrides, **overrides}, ("factors",))


def _combined_name(overrides: Overrides) -> str:
    return " ".join(
        f"{path.rpartition('.')[2]}={value if isinstance(value, str) else shown(value)}"
        for path, value in overrides.items()
    )

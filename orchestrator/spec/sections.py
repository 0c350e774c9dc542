"""The sections of a sweep's YAML, each checked by itself."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from orchestrator.base.text import nearest
from orchestrator.spec.conditions import condition_problems, num_points
from orchestrator.spec.parameters import CategoricalParameter, FloatParameter, Parameter
from orchestrator.spec.problems import allowed_in, explain, refuse
from orchestrator.spec.setting_schema import path_problem, setting_field, value_problem
from prvr_model.settings import Section
from prvr_model.store.synthetic import SyntheticSettings

PathProblems: TypeAlias = list[tuple[tuple[str, ...], str]]
"""Problems inside a section: where, and what is wrong."""


class SpecSection(Section):
    """Base of all sections: strict, frozen, each field described by the text below it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def data_mapping(value: object) -> object:
    """The short forms of `data` (`builtin`, a path) as the long ones."""
    if value == "builtin":
        return {"synthetic": {}}
    if isinstance(value, str):
        close = "/" not in value and nearest(value, ["builtin"])
        if close:
            raise ValueError(
                f"found {value!r}; allowed: builtin, the path of a store or synthetic: {{...}}; "
                f"did you mean builtin? (a store of that name: ./{value})"
            )
        return {"store": value}
    if isinstance(value, Mapping) and len(value) == 1:
        _refuse_single_name(*value)
    return value


def _refuse_single_name(name: object) -> None:
    fields = list(DataSource.model_fields)
    if name not in fields and not nearest(str(name), fields):
        raise ValueError(
            f"found one data set by name, {name!r}; allowed: its store alone, or two names or more"
        )


class DataSource(SpecSection):
    """Where features come from: a store, or the seeded generator of planted events."""

    store: str | None = Field(None, min_length=1)
    """Path of a feature store, relative to the YAML file until resolved; or its URI (s3://...,
    file://...), from which each machine copies it once to its own disk."""
    synthetic: SyntheticSettings | None = None
    """Options of the generator; `data: builtin` has all defaults."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.store is None) == (self.synthetic is None):
            raise ValueError(
                "found neither or both of store and synthetic; allowed: builtin, the path of a "
                "store or synthetic: {...}"
            )
        return self


def _parsed_parameters(value: object) -> object:
    """Check each parameter separately, so that a mistake in one hides none in another."""
    if not isinstance(value, Mapping):
        return value
    parsed: dict[str, Parameter] = {}
    problems: PathProblems = [] if value else [((), "found none; allowed: one parameter or more")]
    for path, raw in value.items():
        missing = path_problem(path)
        if missing:
            problems.append(((path,), missing))
        try:
            parsed[path] = _PARAMETER.validate_python(raw)
        except ValidationError as error:
            found = explain(error, Parameter)
            problems.extend(((path, *problem.path), problem.message) for problem in found)
        else:
            problems.extend([] if missing else _parameter_problems(path, parsed[path]))
    problems = problems or condition_problems(parsed)
    if problems:
        refuse(problems)
    return parsed


_PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)


def _parameter_problems(path: str, parameter: Parameter) -> PathProblems:
    """Where a parameter's type or values do not suit the setting that it is named after."""
    message = _type_problem(path, parameter)
    if message:
        return [((path, "type"), message)]
    if isinstance(parameter, CategoricalParameter):
        pairs: list[tuple[str, object]] = [("choices", choice) for choice in parameter.choices]
    else:
        pairs = [("low", parameter.low), ("high", parameter.high)]
    found = [((path, key), value_problem(path, value)) for key, value in pairs]
    return [(where, text) for where, text in found if text]


def _type_problem(path: str, parameter: Parameter) -> str | None:
    field = setting_field(path)
    assert field is not None
    allowed = allowed_in(field)
    if isinstance(parameter, CategoricalParameter) or "a number" in allowed:
        return None
    if "a whole number" not in allowed:
        return (
            f"found {parameter.type}, but {path} takes no numbers ({allowed}); "
            "use type: categorical"
        )
    if isinstance(parameter, FloatParameter):
        return f"found float, but {path} takes whole numbers ({allowed}); use type: int"
    return None


# Points are listed in memory, and no study of so many trials could be finished or read.
_MAX_GRID = 100_000


class Search(SpecSection):
    """How trials are chosen."""

    sampler: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = "tpe"
    """tpe and gp (a Gaussian process) learn from earlier trials; cmaes, an evolution strategy,
    does so where all parameters are numbers; random; grid runs every point; qmc spreads evenly."""
    seed: int = Field(1, ge=0, lt=2**31)
    """Seed of the sampler; the trials' own is the setting training.seed."""
    trials: int | None = Field(None, ge=1)
    """Number of trials; not for grid, which runs all its points."""
    parameters: Annotated[dict[str, Parameter], BeforeValidator(_parsed_parameters)]
    """What varies, by the dotted path of the setting."""

    @model_validator(mode="after")
    def _sampler_fits(self) -> Self:
        problems = [*self._trials_problems(), *self._grid_problems(), *self._cmaes_problems()]
        if problems:
            refuse(problems)
        return self

    def _trials_problems(self) -> PathProblems:
        if self.sampler == "grid" and self.trials is not None:
            return [(("trials",), f"found {self.trials}; a grid runs all its points: leave it out")]
        if self.sampler != "grid" and self.trials is None:
            return [(("trials",), f"missing; {self.sampler} needs a whole number >= 1")]
        return []

    def _cmaes_problems(self) -> PathProblems:
        """An evolution strategy moves in a space of numbers, all of them in every trial."""
        if self.sampler != "cmaes":
            return []
        unfit = [
            path
            for path, parameter in self.parameters.items()
            if parameter.type == "categorical" or parameter.when
        ]
        numbers = sum(parameter.num_values != 1 for parameter in self.parameters.values())
        found = (
            f"{', '.join(unfit)} (categorical or conditional)" if unfit else f"{numbers} numbers"
        )
        if not unfit and numbers > 1:
            return []
        message = f"found cmaes with {found}; allowed: with two numbers or more alone, or tpe, gp"
        return [(("sampler",), message)]

    def _grid_problems(self) -> PathProblems:
        if self.sampler != "grid":
            return []
        problems: PathProblems = [
            (("parameters", path), "a grid needs a step, or type: categorical with choices")
            for path, parameter in self.parameters.items()
            if parameter.num_values is None
        ]
        points = num_points(self.parameters) or 0
        if points > _MAX_GRID:
            message = (
                f"the grid has {points} points; allowed: at most {_MAX_GRID}; use larger steps or "
                "another sampler"
            )
            problems.append((("parameters",), message))
        return problems


class EarlyStopping(SpecSection):
    """When an unpromising trial is stopped."""

    method: Literal["asha", "median", "hyperband", "none"] = "none"
    """Optuna's successive halving, median or Hyperband pruner, or none."""
    first_rung: int = Field(ge=1)
    """Epochs before a trial can be stopped; default: max_epochs / reduction."""
    reduction: int = Field(3, ge=2)
    """At each rung one trial of `reduction` continues (asha, hyperband)."""
    max_epochs: int = Field(ge=1)
    """Epochs of a trial that is not stopped early; equals the setting training.epochs."""

    @model_validator(mode="after")
    def _rung_is_before_the_end(self) -> Self:
        if self.method != "none" and self.first_rung >= self.max_epochs:
            refuse(
                [
                    (
                        ("first_rung",),
                        f"found {self.first_rung}; allowed: a whole number below max_epochs "
                        f"{self.max_epochs}, or method: none",
                    )
                ]
            )
        return self


class TrialResources(SpecSection):
    """What one trial occupies while it runs."""

    workers: int = Field(1, ge=1)
    """Processes that train one trial together, perhaps on several machines."""
    min_workers: int | None = Field(None, ge=1)
    """Fewest workers with which a trial continues after a node is lost; null: it waits for all."""
    cpus: int = Field(1, ge=1)
    """CPUs of each worker."""
    gpus: float = Field(0.0, ge=0, le=1)
    """GPUs of each worker; 0.5 lets two trials of one worker share one."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory of each worker in GiB; null: estimated from the sizes."""

    @model_validator(mode="after")
    def _fewest_are_fewer(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            message = f"found {self.min_workers} with workers {self.workers}; allowed: 1 to workers"
            refuse([(("min_workers",), message)])
        return self

    @property
    def is_elastic(self) -> bool:
        """Whether the number of a trial's workers may change while it runs."""
        return self.min_workers is not None and self.min_workers < self.workers

    @model_validator(mode="after")
    def _workers_have_whole_gpus(self) -> Self:
        if self.workers > 1 and self.gpus not in (0, 1):
            refuse(
                [
                    (
                        ("gpus",),
                        f"found {self.gpus:g} with workers {self.workers}; allowed: 0 or 1 (two "
                        "workers of a trial on one GPU cannot exchange gradients), or workers 1",
                    )
                ]
            )
        return self


class Confirmation(SpecSection):
    """Runs the best trials of a search again, on seeds that did not choose them."""

    top: int = Field(3, ge=1)
    """Number of best complete trials."""
    seeds: int = Field(3, ge=1)
    """Number of fresh seeds for each."""


def elastic_problems(resources: TrialResources, ablation: object) -> PathProblems:
    """Refuse trials whose number of workers may change in an ablation.

    Rows must differ only in what a variant changes, but dropout depends on the number of workers.

    Args:
        resources: Resources of a trial.
        ablation: The section `ablation`; None: the sweep has none.
    """
    if ablation is None or not resources.is_elastic:
        return []
    message = (
        f"found {resources.min_workers} with workers {resources.workers} in an ablation, where a "
        "change of workers would mix its dropout into the comparison; leave it out"
    )
    return [(("resources", "min_workers"), message)]


class Budget(SpecSection):
    """What a sweep and its resumes may cost; trials that cannot finish within it do not start."""

    gpu_hours: float | None = Field(None, gt=0)
    """GPU-hours; null: no limit."""
    wall_hours: float | None = Field(None, gt=0)
    """Hours in which at least one trial runs; null: no limit."""
    trials: int | None = Field(None, ge=1)
    """Trials that are trained; reused results do not count; null: no limit."""
    money: float | None = Field(None, gt=0)
    """Money in the currency of `prices`; null: no limit."""


class Registration(SpecSection):
    """What becomes a version in the model registry at the end."""

    top: int = Field(1, ge=0)
    """Registers the best N complete trials; 0 disables registration."""

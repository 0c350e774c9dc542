"""What a sweep is: the YAML file as one frozen, strictly typed model with everything resolved.

`most_trials` and `fresh_seeds` say which trials may follow the first ones: seeds of a race, and
fresh runs of a search's best.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.spec.ablation import EPOCHS, SEED, Ablation, Row, ablation_rows
from orchestrator.spec.conditions import num_points
from orchestrator.spec.objectives import (
    LABELLED,
    OBJECTIVES,
    GoalList,
    Limits,
    Objective,
    goal_problems,
)
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.prices import Prices, money_problems
from orchestrator.spec.problems import refuse, shown
from orchestrator.spec.sections import (
    Budget,
    Confirmation,
    DataSource,
    EarlyStopping,
    PathProblems,
    Registration,
    Search,
    SpecSection,
    TrialResources,
    data_mapping,
    elastic_problems,
)
from orchestrator.spec.setting_schema import base_value, checked_settings, flatten_settings
from orchestrator.spec.start import Start, start_points, start_problems
from orchestrator.spec.yaml_text import dump_yaml
from orchestrator.statistics.outcomes import kept_outcome
from orchestrator.statistics.racing import Race
from prvr_model.settings import PRESETS, PresetName, SpeedSettings

BATCH_VIDEOS = "training.batch_videos"
HARD_NEGATIVE_EPOCH = "losses.hard_negative_epoch"
SCHEDULE_EPOCHS = "optimizer.schedule_epochs"
BEST_EPOCH_BY = "evaluation.best_epoch_by"
SUM = "SumR"

# A worker with one video has no negatives of its own; splitting further only costs time.
_LEAST_VIDEOS = 2

# Characters that need no escape in a folder, a URI, a study or a model registry.
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_SWEEP_NAME = 64


def _checked_name(name: str) -> str:
    right = set(name) <= _NAME_LETTERS and name[:1] not in ("", "-", "_")
    if right and len(name) <= _LONGEST_SWEEP_NAME:
        return name
    raise ValueError(
        f"found {shown(name)}; allowed: a-z, 0-9, - and _, a letter or digit first, at most "
        f"{_LONGEST_SWEEP_NAME}"
    )


class SweepSpec(SpecSection):
    """A sweep with every default filled in; `settings` holds the overrides by dotted path."""

    name: Annotated[str, AfterValidator(_checked_name)]
    """Name of the study, the experiment and the folder."""
    question: str = Field(min_length=1)
    """What the sweep is to answer; shown wherever the sweep is shown."""
    data: Annotated[DataSource, BeforeValidator(data_mapping)]
    """`builtin`, the path of a store, or `{synthetic: {...}}`."""
    preset: PresetName | None = None
    """Published settings of a data set to start from."""
    settings: Annotated[dict[str, Any], BeforeValidator(checked_settings)] = {}  # noqa: RUF012
    """Settings that all trials share, dotted or nested; they win over the preset."""
    objective: Objective = Objective()
    """What the search improves; it follows `objectives` where these are given."""
    objectives: GoalList = ()
    """Several: a metric of validation first, by which trials stop early, then costs."""
    limits: Limits = {}  # noqa: RUF012
    """Most that a trial may cost; one that costs more is not crowned, nor trained if that is known
    before."""
    crown: Literal["best", "knee"] = "best"
    """Which trial wins: the best by the first objective, or the one nearest to the best of all
    objectives at once, see `orchestrator.study.goals.Goals.knee`."""
    search: Search | None = None
    """How trials are chosen; this, or `ablation`."""
    ablation: Ablation | None = None
    """A table of variants, each trained on the same seeds."""
    start: Start | None = None
    """Which points a search begins with, and whose trials its sampler knows."""
    confirm: Confirmation | None = None
    """Whether the best trials of a search run again on fresh seeds, which decide the winner."""
    budget: Budget | None = None
    """What it may cost."""
    prices: Prices | None = None
    """What an hour of a GPU or CPU costs; null: nothing is said of money."""
    early_stopping: EarlyStopping
    """When an unpromising trial is stopped."""
    resources: TrialResources = TrialResources()
    """What one trial occupies."""
    speed: SpeedSettings
    """What changes only speed; default: as many threads as CPUs, CUDA if there are GPUs."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; null: as many as fit."""
    reuse: bool = True
    """Whether a trial copies the result if its settings, data and seed were trained before, in this
    sweep, its home or its storage; false: every trial is trained."""
    registration: Registration = Field(Registration(), alias="register")
    """What becomes a version in the model registry."""
    protocol: Literal["validation", "paper"] = "validation"
    """validation: selects on val and scores test once, for the winner. paper: the field's habit of
    reporting the split on which epochs and trials were selected."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:  # noqa: ANN401
        return resolve_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [
            *self._kind_problems(),
            *self._direction_problems(),
            *goal_problems(self.objective, self.objectives, self.limits, self.crown, self.search),
            *self._start_problems(),
            *self._confirm_problems(),
            *self._race_problems(),
            *self._twice_problems(),
            *self._best_epoch_problems(),
        ]
        epochs = self.settings[EPOCHS]
        if epochs != self.max_epochs:
            message = f"found {self.max_epochs}, but settings.{EPOCHS} {epochs}; give one of them"
            problems.append((("early_stopping", "max_epochs"), message))
        if self.speed.device.startswith("cuda") and not self.resources.gpus:
            message = f"found {self.speed.device!r}; needs resources.gpus above 0"
            problems.append((("speed", "device"), message))
        if self.budget and self.budget.gpu_hours is not None and not self.resources.gpus:
            message = f"found {self.budget.gpu_hours:g}; needs resources.gpus above 0"
            problems.append((("budget", "gpu_hours"), message))
        problems.extend(money_problems(self.budget, self.prices, self.resources))
        problems.extend(self._workers_problems())
        problems.extend(elastic_problems(self.resources, self.ablation))
        if problems:
            refuse(problems)
        return self

    def _kind_problems(self) -> PathProblems:
        """A sweep searches or ablates; all rows of an ablation must be trained equally long."""
        if (self.search is None) == (self.ablation is None):
            found = "missing" if self.search is None else "found beside ablation"
            return [(("search",), f"{found}; allowed: one of search and ablation")]
        if self.ablation is None or self.early_stopping.method == "none":
            return []
        message = (
            f"found {self.early_stopping.method} with ablation: rows that stop early do not have "
            "the same budget; allowed: none (settings.training.patience_epochs may end a run)"
        )
        return [(("early_stopping", "method"), message)]

    def _direction_problems(self) -> PathProblems:
        """Verdicts call more recall better, so an ablation cannot minimize."""
        if self.ablation is None or self.objective.direction == "maximize":
            return []
        message = (
            f"found minimize with ablation, but {self.objective.metric} is better when larger; "
            "allowed: maximize"
        )
        return [(("objective", "direction"), message)]

    def _start_problems(self) -> PathProblems:
        if self.start is None:
            return []
        kind = "ablation" if self.search is None else self.search.sampler
        if kind in ("ablation", "grid"):
            message = f"found with {kind}, all of whose trials are known; allowed: with a search"
            return [(("start",), message)]
        points = len(self.start.points) + self.start.published
        if points > self.num_trials:
            message = f"found {points} points with search.trials {self.num_trials}; allowed: fewer"
            return [(("start", "points"), message)]
        return start_problems(self.start, self.space)

    def _confirm_problems(self) -> PathProblems:
        if self.confirm is None:
            return []
        if self.search is None:
            found = (
                "found with ablation, whose rows have several seeds already; allowed: with search"
            )
            return [(("confirm",), found)]
        if self.crown == "knee":
            return [
                (
                    ("confirm",),
                    "found with crown: knee, but fresh seeds decide by the first "
                    "objective; allowed: with crown: best",
                )
            ]
        if SEED in self.space:
            return [
                (("confirm",), f"found while {SEED} is searched; allowed: a seed that is fixed")
            ]
        return []

    def _race_problems(self) -> PathProblems:
        if self.ablation is None or self.ablation.race is None:
            return []
        if kept_outcome(self.objective.metric) is not None:
            return []
        found = self.objective.metric
        message = f"found with objective {found}; allowed: a metric of the fused score"
        return [(("ablation", "race"), message)]

    def _workers_problems(self) -> PathProblems:
        workers = self.resources.workers
        problems: PathProblems = []
        if workers == 1:
            return problems
        batch = min(self.setting_values(BATCH_VIDEOS))
        if batch < workers * _LEAST_VIDEOS:
            most = max(1, batch // _LEAST_VIDEOS)
            message = (
                f"found {workers}, but {BATCH_VIDEOS} is {batch} in all and each worker needs "
                f"{_LEAST_VIDEOS}; allowed: at most {most}"
            )
            problems.append((("resources", "workers"), message))
        if self.speed.device not in ("cpu", "cuda"):
            message = f"found {self.speed.device!r}; allowed with several workers: cpu, cuda"
            problems.append((("speed", "device"), message))
        return problems

    def _twice_problems(self) -> PathProblems:
        problems: PathProblems = []
        for path in self.space:
            key_path = ("search", "parameters", path)
            if path == EPOCHS:
                message = "a trial keeps its best epoch: set early_stopping.max_epochs instead"
                problems.append((key_path, message))
            elif path in self.settings:
                fixed = shown(self.settings[path])
                message = f"searched, but settings.{path} fixes it to {fixed}; remove one of them"
                problems.append((key_path, message))
        return problems

    def _best_epoch_problems(self) -> PathProblems:
        """By verified labels a trial's value, its weights and its patience are of one metric."""
        metric = self.objective.metric
        found = self.setting_values(BEST_EPOCH_BY)
        wanted = _best_epoch_by(metric) or SUM
        if all(value == wanted for value in found) and BEST_EPOCH_BY not in self.space:
            return []
        message = (
            f"found {', '.join(map(str, found))} with objective {metric}; leave it out: it follows "
            "the objective"
        )
        return [(("settings", BEST_EPOCH_BY), message)]

    @property
    def space(self) -> dict[str, Parameter]:
        """What a search varies, by dotted path; empty in an ablation."""
        return self.search.parameters if self.search else {}

    @cached_property
    def num_points(self) -> int | None:
        """Different points that a search can draw; None: uncountable, or nothing is searched."""
        return num_points(self.space)

    @cached_property
    def start_points(self) -> list[tuple[dict[str, Any], bool]]:
        """The first points of a search, see `orchestrator.spec.start.start_points`."""
        return start_points(self.start, self.space, self.preset)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Rows of the ablation's table, the baseline first; none in a search."""
        if self.ablation is None:
            return ()
        start = {**self.settings, **self.ablation.baseline.overrides}
        return ablation_rows(
            self.ablation,
            {path: base_value(path, self.preset, start) for path in self.ablation.factors},
        )

    @property
    def num_trials(self) -> int:
        """Number of trials: of a grid its points, of an ablation its runs before a race."""
        if self.ablation is not None:
            return len(self.rows) * self.ablation.num_seeds
        if self.search is not None and self.search.trials is not None:
            return self.search.trials
        return self.num_points or 0

    def seeds(self, count: int | None = None) -> tuple[int, ...]:
        """The first seeds of the ablation's rows; None: as many as every row gets."""
        if self.ablation is None:
            return ()
        first = base_value(SEED, self.preset, self.settings)
        return self.ablation.seed_values(first, count or self.ablation.num_seeds)

    @property
    def max_epochs(self) -> int:
        """Epochs of a trial that is not ended early."""
        return self.early_stopping.max_epochs

    def setting_values(self, path: str) -> tuple[Any, ...]:
        """The value of a setting, the ends of its range where it is searched, or each row's."""
        if path in self.space:
            ends = self.space[path].ends
            own = base_value(path, self.preset, self.settings)
            return ends if not self.space[path].when or own in ends else (*ends, own)
        starts = [{**self.settings, **row.overrides} for row in self.rows] or [self.settings]
        values = [base_value(path, self.preset, start) for start in starts]
        return tuple(value for k, value in enumerate(values) if value not in values[:k])

    def dump_yaml(self) -> str:
        """The resolved spec; loading it gives an equal spec."""
        return dump_yaml(self.dump_values())

    def dump_values(self) -> dict[str, Any]:
        """The resolved spec as plain values, as a YAML file holds them."""
        values = self.model_dump(mode="json", by_alias=True)
        for kind in ("search", "ablation", "start", "confirm", "budget", "prices"):
            if values[kind] is None:
                del values[kind]
        # A spec without them reads as it did before there were any.
        for key, usual in (("objectives", []), ("limits", {}), ("crown", "best")):
            if values[key] == usual:
                del values[key]
        if "objectives" in values:
            del values["objective"]
        if self.budget is not None and self.budget.money is None:
            del values["budget"]["money"]
        if self.prices is not None:
            values["prices"] = self.prices.model_dump(mode="json", exclude_none=True)
        for parameter in values.get("search", {}).get("parameters", {}).values():
            if not parameter["when"]:
                del parameter["when"]
        values["data"] = self.data.model_dump(mode="json", exclude_none=True)
        return values


def resolve_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what follows from other fields: the epochs, the first rung, device and threads.

    Leaves values of a wrong type alone; validation reports them later.
    """
    values = dict(raw)
    goals = values.get("objectives")
    if isinstance(goals, list | tuple) and goals and _is_metric(goals[0]):
        values.setdefault("objective", dict(goals[0]))
    settings = values.get("settings", {})
    stopping = values.get("early_stopping", {})
    if isinstance(settings, Mapping) and isinstance(stopping, Mapping):
        flat, twice = flatten_settings(settings)
        stopping = _with_budget(stopping, flat, values.get("preset"))
        if not twice:
            values["settings"] = {EPOCHS: stopping["max_epochs"]} | flat
        values["early_stopping"] = stopping
        if not twice and (best := _best_epoch_by(values.get("objective"))):
            values["settings"] = {BEST_EPOCH_BY: best} | values["settings"]
    speed, resources = values.get("speed", {}), values.get("resources", {})
    if isinstance(speed, Mapping):
        known = resources if isinstance(resources, Mapping) else {}
        values["speed"] = _speed_defaults(known) | dict(speed)
    return values


def _is_metric(goal: object) -> bool:
    """Whether the first of several objectives can stand as the objective."""
    return isinstance(goal, Mapping) and goal.get("metric") in OBJECTIVES


def _best_epoch_by(objective: object) -> str | None:
    """The metric that chooses a trial's weights, if it is not the usual one.

    Args:
        objective: A metric, or the section `objective` as it is written.
    """
    metric = objective.get("metric") if isinstance(objective, Mapping) else objective
    return str(metric).removeprefix("val/") if metric in LABELLED else None


def _with_budget(
    stopping: Mapping[str, Any], flat: Mapping[str, Any], preset: object
) -> dict[str, Any]:
    known = next((name for name in PRESETS if name == preset), None)
    filled = {key: value for key, value in stopping.items() if value is not None}
    epochs = filled.setdefault("max_epochs", base_value(EPOCHS, known, flat))
    reduction = filled.get("reduction", EarlyStopping.model_fields["reduction"].default)
    numbers = isinstance(epochs, int) and isinstance(reduction, int) and reduction > 0
    filled.setdefault("first_rung", max(1, epochs // reduction) if numbers else 1)
    return filled


def _speed_defaults(resources: Mapping[str, Any]) -> dict[str, Any]:
    gpus, cpus = resources.get("gpus", 0), resources.get("cpus", 1)
    on_gpu = isinstance(gpus, int | float) and gpus > 0
    threads = cpus if isinstance(cpus, int) and cpus > 0 else 1
    return {"device": "cuda" if on_gpu else "cpu", "threads": threads}


def race_of(spec: SweepSpec) -> Race | None:
    """The plan of an ablation's race; None if it has none."""
    if spec.ablation is None or spec.ablation.race is None:
        return None
    return Race.planned(spec.ablation.num_seeds, spec.ablation.race.max_seeds)


def most_trials(spec: SweepSpec) -> int:
    """Most trials of a sweep: if a race decides no row early, or with all confirmations."""
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

"""What a sweep is: the YAML file as one frozen, strictly typed model with everything resolved."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.parameters import CategoricalParameter, uneven
from orchestrator.problems import refuse, shown
from orchestrator.setting_schema import (
    base_value,
    flatten_settings,
    path_problem,
    value_problem,
)
from orchestrator.spec_sections import (
    DataSource,
    EarlyStopping,
    Objective,
    Places,
    Registration,
    Search,
    SpecSection,
    TrialResources,
    data_mapping,
    elastic_problems,
)
from orchestrator.spec_yaml import dump_yaml
from prvr_model.settings import PRESETS, PresetName, SpeedSettings

BATCH_VIDEOS = "training.batch_videos"
EPOCHS = "training.epochs"
HARD_NEGATIVE_EPOCH = "losses.hard_negative_epoch"
SCHEDULE_EPOCHS = "optimizer.schedule_epochs"

# A worker with one video has no negatives of its own; splitting further only costs time.
_LEAST_VIDEOS = 2

# Letters that mean the same in a folder, a URI, a study and a model registry.
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_NAME = 64


def _checked_name(name: str) -> str:
    right = set(name) <= _NAME_LETTERS and name[:1] not in ("", "-", "_")
    if right and len(name) <= _LONGEST_NAME:
        return name
    raise ValueError(
        f"found {shown(name)}; allowed: a-z, 0-9, - and _, a letter or digit first, at most "
        f"{_LONGEST_NAME}"
    )


def _flat_checked(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    flat, twice = flatten_settings(value)
    problems: Places = [((path,), "found twice, dotted and nested; keep one") for path in twice]
    for path, one in flat.items():
        message = path_problem(path) or value_problem(path, one)
        if message:
            problems.append(((path,), message))
    if problems:
        refuse(problems)
    return flat


class SweepSpec(SpecSection):
    """A sweep with every default filled in; `settings` holds the overrides by dotted path."""

    name: Annotated[str, AfterValidator(_checked_name)]
    """Name of the study, the experiment and the folder."""
    question: str = Field(min_length=1)
    """What the sweep is to answer; shown wherever the sweep is."""
    data: Annotated[DataSource, BeforeValidator(data_mapping)]
    """`builtin`, the path of a store, or `{synthetic: {...}}`."""
    preset: PresetName | None = None
    """Published settings of a data set to start from."""
    settings: Annotated[dict[str, Any], BeforeValidator(_flat_checked)] = {}  # noqa: RUF012
    """Settings that all trials share, dotted or nested; they win over the preset."""
    objective: Objective = Objective()
    """What the search improves."""
    search: Search
    """How trials are chosen."""
    early_stopping: EarlyStopping
    """When a trial that promises little is ended."""
    resources: TrialResources = TrialResources()
    """What one trial occupies."""
    speed: SpeedSettings
    """What changes only speed; default: as many threads as CPUs, CUDA where there are GPUs."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; null: as many as fit."""
    registration: Registration = Field(Registration(), alias="register")
    """What becomes a version in the model registry."""
    protocol: Literal["validation"] = "validation"
    """Trials and epochs are selected on validation; the field's `paper` comes later."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:  # noqa: ANN401
        return resolve_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = self._twice_problems()
        epochs = self.settings[EPOCHS]
        if epochs != self.max_epochs:
            message = f"found {self.max_epochs}, but settings.{EPOCHS} {epochs}; give one of them"
            problems.append((("early_stopping", "max_epochs"), message))
        if self.speed.device.startswith("cuda") and not self.resources.gpus:
            message = f"found {self.speed.device!r}; needs resources.gpus above 0"
            problems.append((("speed", "device"), message))
        problems.extend(self._workers_problems())
        problems.extend(elastic_problems(self.resources, getattr(self, "ablation", None)))
        if problems:
            refuse(problems)
        return self

    def _workers_problems(self) -> Places:
        workers = self.resources.workers
        problems: Places = []
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

    def _twice_problems(self) -> Places:
        problems: Places = []
        for path in self.search.parameters:
            place = ("search", "parameters", path)
            if path == EPOCHS:
                message = "a trial keeps its best epoch: set early_stopping.max_epochs instead"
                problems.append((place, message))
            elif path in self.settings:
                fixed = shown(self.settings[path])
                message = f"searched, but settings.{path} fixes it to {fixed}; remove one of them"
                problems.append((place, message))
        return problems

    @property
    def num_trials(self) -> int:
        """Number of trials; a grid's is the number of its points."""
        if self.search.trials is not None:
            return self.search.trials
        return prod(one.num_values or 1 for one in self.search.parameters.values())

    @property
    def max_epochs(self) -> int:
        """Epochs of a trial that is not ended early."""
        return self.early_stopping.max_epochs

    def setting_values(self, path: str) -> tuple[Any, ...]:
        """The value of a setting, or the ends of its range where it is searched."""
        if path in self.search.parameters:
            return self.search.parameters[path].ends
        return (base_value(path, self.preset, self.settings),)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but probably not meant, a sentence each."""
        return (
            *_hard_negative_warnings(self),
            *_schedule_warnings(self),
            *_search_warnings(self),
            *_idle_warnings(self),
            *_concurrency_warnings(self),
        )

    def dump_yaml(self) -> str:
        """The resolved spec; loading it gives an equal spec."""
        values = self.model_dump(mode="json", by_alias=True)
        values["data"] = self.data.model_dump(mode="json", exclude_none=True)
        return dump_yaml(values)


def resolve_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what follows from other fields: the budget, the first rung, device and threads.

    Leaves alone what is not of the right type; validation names it then.
    """
    values = dict(raw)
    settings = values.get("settings", {})
    stopping = values.get("early_stopping", {})
    if isinstance(settings, Mapping) and isinstance(stopping, Mapping):
        flat, twice = flatten_settings(settings)
        stopping = _with_budget(stopping, flat, values.get("preset"))
        if not twice:
            values["settings"] = {EPOCHS: stopping["max_epochs"]} | flat
        values["early_stopping"] = stopping
    speed, resources = values.get("speed", {}), values.get("resources", {})
    if isinstance(speed, Mapping):
        known = resources if isinstance(resources, Mapping) else {}
        values["speed"] = _speed_defaults(known) | dict(speed)
    return values


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
            "sees hard negatives; lower it, or set null to say so"
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
        for path, one in spec.search.parameters.items()
        if not isinstance(one, CategoricalParameter) and (text := uneven(one))
    ]
    if spec.objective.direction == "minimize":
        texts.append(f"objective.direction minimize: {spec.objective.metric} is better when larger")
    chosen = [p for p, one in spec.search.parameters.items() if one.type == "categorical"]
    if spec.search.sampler == "qmc" and chosen:
        texts.append(f"qmc draws categorical parameters at random: {', '.join(chosen)}")
    if spec.search.sampler == "grid" and spec.num_trials > _LARGE_GRID:
        texts.append(f"the grid has {spec.num_trials} points; a sampler needs far fewer trials")
    stopping = spec.early_stopping
    if stopping.method in ("median", "none") and "reduction" in stopping.model_fields_set:
        texts.append(f"early_stopping.reduction has no effect under method: {stopping.method}")
    return texts


# A parameter, the setting that switches it on, and the values of that which do.
_SWITCHES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("losses.tau", "losses.cross_branch", ("adaptive",)),
    ("losses.num_levels", "losses.cross_branch", ("adaptive",)),
    ("losses.smallest_level", "losses.cross_branch", ("adaptive",)),
    ("losses.cbva_weight", "losses.cross_branch", ("fixed", "adaptive")),
    ("model.merge_ratio", "model.clips", ("op_tome",)),
)


def _idle_warnings(spec: SweepSpec) -> list[str]:
    """Parameters that change nothing, because what they belong to is switched off."""
    texts = []
    for path, switch, needed in _SWITCHES:
        values = spec.setting_values(switch)
        if path in spec.search.parameters and not set(values) & set(needed):
            found = " or ".join(map(str, values))
            texts.append(f"search.parameters.{path} changes nothing under {switch}: {found}")
    return texts


def _concurrency_warnings(spec: SweepSpec) -> list[str]:
    texts = []
    at_once, trials = spec.concurrency or 1, spec.num_trials
    if at_once > trials:
        texts.append(f"concurrency {at_once} exceeds the {trials} trials")
    elif spec.search.sampler == "tpe" and at_once > 1 and at_once * 2 > trials:
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

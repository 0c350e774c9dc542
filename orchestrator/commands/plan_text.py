"""A plan as text for the terminal: `render_plan`, and times in their natural units."""

from collections.abc import Callable, Mapping

from orchestrator.base.text import count, gib, table_lines, two_digits
from orchestrator.cluster.capacity import Node
from orchestrator.preflight.epoch_band import Band
from orchestrator.preflight.estimate import ROUGH_FACTOR
from orchestrator.preflight.plan import Plan
from orchestrator.spec.ablation import Ablation, Row
from orchestrator.spec.conditions import condition_text
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.prices import Prices
from orchestrator.spec.problems import shown
from orchestrator.spec.sections import Budget
from orchestrator.spec.sweep_spec import SweepSpec, fresh_seeds, most_trials, race_of
from orchestrator.statistics.comparison import contrasts_of

_LABEL_WIDTH = 9
_CROWNS = {
    "best": "the best by the first objective",
    "knee": "the knee: the trial nearest to the best of all objectives at once",
}
_UNSET = object()
# Seconds from which minutes are easier to read.
_LONG_S = 100.0
# Largest unit first; a time is shown in the largest that it reaches.
_UNITS: Mapping[str, float] = {"h": 3600.0, "min": 60.0, "s": 1.0}


def render_plan(plan: Plan) -> str:
    """The plan as lines, warnings last."""
    lines = [f"sweep {plan.spec.name}: {plan.spec.question}"]
    for name, texts in _parts(plan).items():
        for number, text in enumerate(texts):
            lines.append(f"  {'' if number else name:<{_LABEL_WIDTH}}  {text}")
    lines += [f"warning: {text}" for text in plan.warnings]
    return "\n".join(lines)


def _parts(plan: Plan) -> dict[str, list[str]]:
    spec = plan.spec
    base = f"preset {spec.preset}" if spec.preset else "published defaults"
    fixed = [f"{path} = {shown(value)}" for path, value in spec.settings.items()]
    return {
        "data": [spec.data.store or "synthetic, made on this machine"],
        "settings": [base, *fixed],
        "objective": [
            f"{goal.direction} {goal.metric}" for goal in spec.objectives or (spec.objective,)
        ],
        **({"limits": plan.limits.lines} if plan.limits else {}),
        **({"crown": [_CROWNS[spec.crown]]} if spec.objectives else {}),
        **_kind(spec),
        **({"budget": [_budget(spec.budget, spec.prices)]} if spec.budget else {}),
        "each": [_needs(plan)],
        "nodes": _node_lines(plan),
        "trials": [_trials(plan), *_points(spec), *_known(plan)],
        "epochs": [_epochs(plan)],
        "an epoch": _epoch_time(plan),
        "time": [_time(plan)],
        **_hours(plan),
        **({"money": money.lines} if (money := plan.money) else {}),
    }


def _kind(spec: SweepSpec) -> dict[str, list[str]]:
    """What is searched, or the rows of the table."""
    if spec.search is not None:
        ranges = [f"{path}: {parameter_text(parameter)}" for path, parameter in spec.space.items()]
        search = [f"{spec.search.sampler}, seed {spec.search.seed}, over", *ranges]
        return {"search": search, **_start(spec), **_confirmation(spec)}
    assert spec.ablation is not None, "a spec has a search or an ablation"
    return {"ablation": _table(spec, spec.ablation)}


def _start(spec: SweepSpec) -> dict[str, list[str]]:
    """What the search begins with."""
    if spec.start is None:
        return {}
    points = len(spec.start.points)
    parts = [
        *(["the published setting"] if spec.start.published else []),
        *([count(points, "given point")] if points else []),
        *([f"trials of {', '.join(spec.start.sweeps)} are known"] if spec.start.sweeps else []),
    ]
    return {"start": ["; ".join(parts) or "nothing given"]}


def _confirmation(spec: SweepSpec) -> dict[str, list[str]]:
    if spec.confirm is None:
        return {}
    seeds, more = fresh_seeds(spec), most_trials(spec) - spec.num_trials
    return {
        "confirm": [
            f"the best {min(spec.confirm.top, spec.num_trials)} again on "
            f"{count(len(seeds), 'fresh seed')} ({', '.join(map(str, seeds))}): "
            f"{count(more, 'trial')}; the best mean of these wins"
        ]
    }


def _table(spec: SweepSpec, ablation: Ablation) -> list[str]:
    """The rows of an ablation with what each changes, what is compared, and the seeds."""
    width = max(len(row.name) for row in spec.rows)
    compared = contrasts_of([row.name for row in spec.rows], ablation.design == "ladder")
    return [
        f"{ablation.design} of {count(len(spec.rows), 'row')}",
        *(f"  {row.name:<{width}}  {_changes(spec, row)}" for row in spec.rows),
        _comparisons(spec, ablation, len(compared)),
        _seeds(spec, ablation),
    ]


def _changes(spec: SweepSpec, row: Row) -> str:
    """The settings in which a row differs from the row that it builds on."""
    first, ladder = spec.rows[0], spec.ablation is not None and spec.ablation.design == "ladder"
    before = spec.rows[spec.rows.index(row) - 1] if ladder and row != first else first
    base = {} if row == first else before.overrides
    overrides = row.overrides.items()
    changed = {path: value for path, value in overrides if base.get(path, _UNSET) != value}
    listed = ", ".join(f"{path} = {shown(value)}" for path, value in changed.items())
    return listed or "the settings as they are"


def _comparisons(spec: SweepSpec, ablation: Ablation, compared: int) -> str:
    if not compared:
        return "no comparison: shows how one configuration varies between seeds"
    step = " and the step before" if ablation.design == "ladder" and len(spec.rows) > 2 else ""
    base = f"{spec.rows[0].name}{step}"
    return f"each against {base}: {count(compared, 'comparison')}, corrected together"


def _seeds(spec: SweepSpec, ablation: Ablation) -> str:
    text = f"every row on {count(ablation.num_seeds, 'seed')}: {', '.join(map(str, spec.seeds()))}"
    race = race_of(spec)
    if race is None:
        return text
    looks = ", then ".join(map(str, race.looks[1:]))
    return f"{text}; undecided rows get more, up to {looks}"


def _budget(budget: Budget, prices: Prices | None) -> str:
    limits = (
        (budget.gpu_hours, "GPU-hours"),
        (budget.wall_hours, "hours"),
        (budget.trials, "trials"),
        (budget.money, prices.currency if prices else ""),
    )
    listed = ", ".join(f"{limit:g} {name}" for limit, name in limits if limit is not None)
    return f"{listed or 'no limit'}; a trial that cannot finish within it does not start"


def _needs(plan: Plan) -> str:
    needs = plan.packing.needs
    texts = [f"{count(needs.workers, 'worker')} with {count(needs.cpus, 'CPU')}"]
    if needs.gpus:
        texts.append(count(needs.gpus, "GPU"))
    if needs.memory is not None:
        about = "about " if needs.memory.is_estimate else ""
        texts.append(f"{about}{gib(needs.memory.peak_bytes)} of memory")
    return ", ".join(texts)


def _node_lines(plan: Plan) -> list[str]:
    """A table of the nodes: their resources, and the trials or workers of a full packing."""
    packing = plan.packing
    what = "trials" if packing.needs.workers == 1 else "workers"
    rows = [("", "CPUs", "GPUs", "memory", what)]
    for node, workers in zip(packing.nodes, packing.workers, strict=True):
        size = "?" if node.memory_bytes is None else gib(node.memory_bytes)
        rows.append((_name(node), f"{node.cpus:g}", f"{node.gpus:g}", size, str(workers)))
    return table_lines(rows)


def _name(node: Node) -> str:
    kind = node.labels.get("accelerator")
    return f"{node.name}, {kind}" if kind else node.name


def _trials(plan: Plan) -> str:
    more = plan.most_trials - plan.trials
    then = "and" if plan.spec.confirm else "at first, at most"
    counted = more if plan.spec.confirm else plan.most_trials
    trials = f"{plan.trials} {then} {counted}" if more else f"{plan.trials}"
    text = f"{trials}, {plan.trials_at_once} at once"
    if plan.trials_at_once < plan.packing.trials:
        return f"{text} (there is room for {plan.packing.trials})"
    return text


def _points(spec: SweepSpec) -> list[str]:
    """That a sampler will draw points twice, or all of them, where there are few."""
    points, trials = spec.num_points, spec.num_trials
    is_grid = spec.search is not None and spec.search.sampler == "grid"
    if points is None or is_grid or points >= 2 * trials:
        return []
    listed = count(points, "different point")
    if points < trials:
        return [
            f"{listed}; trials that repeat one cost nothing, and the search ends after the last"
        ]
    return [f"{listed}; {trials} trials may repeat some"]


def _known(plan: Plan) -> list[str]:
    if not plan.known:
        return []
    left = plan.trials - plan.known
    return [f"{plan.known} of them need no training, their results are known; {left} to train"]


def _epochs(plan: Plan) -> str:
    stopping, epochs = plan.spec.early_stopping, plan.epochs
    most = f"at most {stopping.max_epochs} a trial"
    if epochs.least == epochs.most:
        return f"{most}, {epochs.most:.0f} in all"
    span = f"{most}, {epochs.least:.0f} to {epochs.most:.0f} in all"
    if stopping.method == "none":
        return span
    rung = f"{stopping.method} from epoch {stopping.first_rung}"
    return f"{span}, about {epochs.expected:.0f} expected; {rung}"


def _epoch_time(plan: Plan) -> list[str]:
    if plan.time is None:
        return ["not known before an epoch is timed"]
    low, high = plan.time.range_s
    text = f"{short(plan.time.mean_s)} on average, {short(low)} to {short(high)}"
    if plan.probe is None:
        off = f"from the sizes alone: up to {ROUGH_FACTOR} times more or less; --probe measures it"
        return [f"roughly {text} over the space", off]
    stage, request = plan.probe.result.stages[-1], plan.probe.request
    share = "" if stage.videos == request.batch_videos else f" of {request.batch_videos}"
    steps = count(len(stage.steps_s), "step")
    where = f"{plan.probe.node} ({plan.probe.result.hardware})"
    measured = f"measured on {where}: {steps} of {stage.videos}{share} videos"
    return [f"{text} over the space", measured]


def _time(plan: Plan) -> str:
    band = plan.seconds
    if band is None:
        return "not known before an epoch is timed"
    rough = "" if plan.probe else "roughly "
    return f"{rough}{_span(band, duration)}, plus start-up"


def _hours(plan: Plan) -> dict[str, list[str]]:
    resources = plan.spec.resources
    name, each = ("GPU", resources.gpus) if resources.gpus else ("CPU", resources.cpus)
    hours = plan.hours(each)
    return {f"{name}-hours": [_span(hours, two_digits)]} if hours else {}


def _span(band: Band, show: Callable[[float], str]) -> str:
    least, expected, most = (show(value) for value in (band.least, band.expected, band.most))
    return least if least == most else f"{expected} expected, {least} to {most}"


def parameter_text(parameter: Parameter) -> str:
    """A parameter in a few words, e.g. `0.5 to 0.95 by 0.05, where model.clips is op_tome`."""
    conditions = [
        f"{path} is {condition_text(condition)}" for path, condition in parameter.when.items()
    ]
    return parameter.range_text + (f", where {' and '.join(conditions)}" if conditions else "")


def duration(seconds: float) -> str:
    """A time in its natural unit, e.g. `1.5 h`, `12 min`, `40 s`."""
    unit = next((name for name, size in _UNITS.items() if seconds >= size), "s")
    value = seconds / _UNITS[unit]
    return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"


def short(seconds: float) -> str:
    """A short time with two digits, e.g. `0.35 s`, `12 s`; a longer one in its natural unit."""
    if seconds >= _LONG_S:
        return duration(seconds)
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"

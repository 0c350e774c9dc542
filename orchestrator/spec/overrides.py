"""`--set path=value`: changes to a spec that were made on the command line."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.base.errors import SpecError
from orchestrator.base.text import suggestion
from orchestrator.spec.ablation import EPOCHS
from orchestrator.spec.joint import TRANSFER
from orchestrator.spec.problems import Problem, models_in, shown
from orchestrator.spec.sections import data_mapping
from orchestrator.spec.setting_schema import path_problem, sections
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.yaml_text import KeyPath, SpecSyntaxError, parse_yaml
from prvr_model.settings import setting_paths

_PARAMETERS = ("search", "parameters")
# Key paths whose keys are settings, which keep their dots; `*` is a variant's name.
_BEFORE_SETTINGS: tuple[KeyPath, ...] = (
    ("ablation", "variants", "*"),
    ("ablation", "baseline", "set"),
    ("ablation", "factors"),
)
# Key paths whose keys are names of machines, which keep their dots too.
_BEFORE_NAMES: tuple[KeyPath, ...] = tuple(
    (*section, hour)
    for section in (("prices",), ("prices", "spot"))
    for hour in ("gpu_hour", "cpu_hour")
)
NOTIFY = "notify"
"""Key that no file may have: what it names is run, or is told what a sweep found."""
NOTIFY_REFUSED = (
    "found in a sweep, whose file may come from others; allowed: on the command line alone "
    "(--notify COMMAND_OR_URL), or in the environment (PRVR_NOTIFY)"
)
# Two names of the number of epochs: an override of one replaces the file's value of the other.
_BUDGET_NAMES = (("early_stopping", "max_epochs"), ("settings", EPOCHS))


def apply_override(raw: dict[str, Any], text: str) -> tuple[list[KeyPath], list[Problem]]:
    """Put the value of one `path=value` into a spec's mapping, in place.

    Args:
        raw: The spec as read, `settings` by dotted path.
        text: The override. Its path reaches any key of the YAML, or a setting without the
            `settings.` before it. null removes a parameter.

    Returns:
        The paths that were changed (several where a whole section was given), and what is wrong
        with the text.
    """
    name, equals, value_text = (part.strip() for part in text.partition("="))
    if not equals or not name:
        return [], [Problem((), "allowed: path=value, e.g. search.trials=8 or losses.tau=0.7")]
    if not value_text:
        return [], [Problem((), "found no value; allowed: any YAML value, null for none")]
    missing = _unknown_path(name)
    if missing:
        return [], [Problem((), missing)]
    try:
        document = parse_yaml(value_text)
    except SpecSyntaxError as error:
        return [], [Problem((), f"the value is no YAML: {error}")]
    problems = [Problem(path, message) for path, _, message in document.problems]
    changed = []
    for path, value in _pairs(name, document.value):
        message = _put(raw, path, value)
        problems.extend([Problem((), message)] if message else [])
        changed.append(path)
    return changed, problems


def given_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings by dotted path of the texts of `--set`, where only settings can be meant.

    Raises:
        SpecError: A text names no setting, or its value is no YAML; all are listed.
    """
    raw: dict[str, Any] = {}
    problems = []
    for text in texts:
        _, found = apply_override(raw, text)
        problems += [f"--set {text}: {problem}" for problem in found]
    settings: dict[str, Any] = raw.pop("settings", {})
    unknown = {path: path_problem(path) for path in settings}
    problems += [f"--set {path}: {problem}" for path, problem in unknown.items() if problem]
    problems += [f"--set {key}: found a key of a sweep; allowed: settings" for key in raw]
    if problems:
        raise SpecError(problems)
    return settings


def budget_twin(path: KeyPath) -> KeyPath | None:
    """The other name of the number of epochs, if `path` is one; else None."""
    if path not in _BUDGET_NAMES:
        return None
    return _BUDGET_NAMES[1 - _BUDGET_NAMES.index(path)]


def remove(raw: dict[str, Any], path: KeyPath) -> None:
    """Remove the value at a path, if there is one."""
    node: Any = raw
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(path[-1], None)


def _unknown_path(name: str) -> str | None:
    first = name.partition(".")[0]
    if first == NOTIFY:
        return NOTIFY_REFUSED
    names = [field.alias or key for key, field in SweepSpec.model_fields.items()]
    if first in names or first in sections() or first == TRANSFER:
        return None
    every = [*names, TRANSFER, *_dotted_fields(), *setting_paths()]
    allowed = f"; allowed: {', '.join([*names, *sections()])}"
    return f"unknown path {name!r}{suggestion(name, every) or allowed}"


def _dotted_fields() -> Iterator[str]:
    for key, field in SweepSpec.model_fields.items():
        for section in models_in(field.annotation):
            yield from (f"{field.alias or key}.{name}" for name in section.model_fields)


def _pairs(name: str, value: object) -> Iterator[tuple[KeyPath, object]]:
    """Key paths into the mapping for a dotted name; settings keep their dots."""
    parts = name.split(".")
    if parts[0] in sections():
        parts.insert(0, "settings")
    if parts[0] == "settings" and len(parts) == 2 and isinstance(value, Mapping):
        yield from (((*parts[:1], f"{parts[1]}.{key}"), entry) for key, entry in value.items())
    elif parts[0] == "settings" and len(parts) > 1:
        yield ("settings", ".".join(parts[1:])), value
    elif tuple(parts[:2]) == _PARAMETERS and len(parts) > 2:
        yield (*_PARAMETERS, ".".join(parts[2:4]), *parts[4:]), value
    else:
        depth = next(
            (
                len(prefix)
                for prefix in (*_BEFORE_SETTINGS, *_BEFORE_NAMES)
                if _begins(parts, prefix)
            ),
            len(parts),
        )
        rest = [".".join(parts[depth:])] if parts[depth:] else []
        yield (*parts[:depth], *rest), value


def _begins(parts: list[str], prefix: KeyPath) -> bool:
    """Whether parts begin with a prefix, in which `*` stands for any name."""
    pairs = zip(parts, prefix, strict=False)
    return len(parts) > len(prefix) and all(entry in ("*", part) for part, entry in pairs)


def _put(raw: dict[str, Any], path: KeyPath, value: object) -> str | None:
    if path[:2] == _PARAMETERS and len(path) == 3 and value is None:
        return _take_parameter(raw, path)
    node = raw
    for depth, part in enumerate(path[:-1]):
        child = node.get(part)
        if path[: depth + 1] == ("data",):
            child = _long_data(child)
        child = {} if child is None else child
        if not isinstance(child, dict):
            above = ".".join(path[: depth + 1])
            return f"{above} is {shown(child)}, which has no {path[depth + 1]!r}"
        node[part] = child
        node = child
    node[path[-1]] = value
    return None


def _take_parameter(raw: dict[str, Any], path: KeyPath) -> str | None:
    search = raw.get("search")
    space = search.get("parameters") if isinstance(search, dict) else None
    if isinstance(space, dict) and path[-1] in space:
        del space[path[-1]]
        return None
    searched = list(space) if isinstance(space, dict) else []
    return f"{path[-1]} is not searched{suggestion(path[-1], searched)}"


def _long_data(value: object) -> object:
    try:
        return data_mapping(value)
    except ValueError:
        return value

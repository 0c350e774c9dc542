"""What a trial's settings allow, looked up by dotted path before anything is trained."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.base.text import suggestion
from orchestrator.spec.problems import allowed_in, literals, refuse, shown
from prvr_model.settings import PRESETS, PresetName, Settings, setting_paths


def sections() -> Mapping[str, type[BaseModel]]:
    """The sections of the settings by name, e.g. `losses`."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def setting_field(path: str) -> FieldInfo | None:
    """The field that a dotted path names; None if there is none."""
    section, _, key = path.partition(".")
    model = sections().get(section)
    return model.model_fields.get(key) if model else None


def path_problem(path: str) -> str | None:
    """Why a path names no setting, with the nearest that does; None if it names one."""
    if setting_field(path) is not None:
        return None
    near = suggestion(path, setting_paths())
    if path in sections():
        keys = ", ".join(f"{path}.{key}" for key in sections()[path].model_fields)
        return f"a section of settings, not one setting; allowed: {keys}"
    allowed = f"; allowed: a setting of {', '.join(sections())}, e.g. losses.tau"
    return f"unknown setting {path!r}{near or allowed}"


def value_problem(path: str, value: object) -> str | None:
    """Why a setting cannot have a value, with what it allows; None if it can.

    Checks this field only; conflicts of several are found when the settings are built.
    """
    section, _, key = path.partition(".")
    model = sections()[section]
    try:
        model.model_validate({key: value})
    except ValidationError as error:
        if any(detail["loc"][:1] == (key,) for detail in error.errors()):
            return found_and_allowed(path, value)
    return None


def found_and_allowed(path: str, value: object) -> str:
    """Message for a value that a setting refuses."""
    field = setting_field(path)
    assert field is not None
    names = literals(field)
    return f"found {shown(value)}; {allowed_in(field)}{suggestion(value, names)}"


def base_value(path: str, preset: PresetName | None, overrides: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """A setting's value where no parameter replaces it: override, then preset, then default."""
    if path in overrides:
        return overrides[path]
    if preset is not None and path in PRESETS[preset]:
        return PRESETS[preset][path]
    field = setting_field(path)
    assert field is not None
    return field.default


def flatten_settings(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings by dotted path from dotted keys, nested sections or a mixture.

    Returns:
        The flat settings and the paths that were given in both forms.
    """
    flat: dict[str, Any] = {}
    twice: list[str] = []
    for key, value in raw.items():
        nested = isinstance(value, Mapping) and "." not in key
        pairs = (
            {f"{key}.{name}": entry for name, entry in value.items()} if nested else {key: value}
        )
        twice.extend(path for path in pairs if path in flat)
        flat.update(pairs)
    return flat, twice


def setting_problem(path: str, value: object) -> str | None:
    """Why a path cannot be set to a value; None if it can."""
    return path_problem(path) or value_problem(path, value)


def checked_settings(
    value: object, *, problem: Callable[[str, object], str | None] = setting_problem
) -> object:
    """Settings by dotted path, each one checked; pydantic refuses a value that is no mapping.

    Args:
        value: The settings as a section of the YAML has them.
        problem: Why a path cannot be set to a value.
    """
    if not isinstance(value, Mapping):
        return value
    flat, twice = flatten_settings(value)
    found = {path: problem(path, setting) for path, setting in flat.items()}
    problems = [((path,), "found twice, dotted and nested; keep one") for path in twice]
    problems += [((path,), message) for path, message in found.items() if message]
    if problems:
        refuse(problems)
    return flat

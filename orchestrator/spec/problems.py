"""Problems of a spec, worded so that a user can fix them.

Every message has one form: what was found; what is allowed; the nearest valid name.
"""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchestrator.base.text import suggestion

# Longer values would push what is allowed out of sight.
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Problem:
    """One mistake and where it is: the keys from the top of the YAML."""

    path: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


def shown(value: object) -> str:
    """A value as it would stand in YAML, cut where it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def unknown(kind: str, name: str, names: Sequence[str]) -> str:
    """Message for a name that does not exist, e.g. `unknown key 'x'; allowed: a, b`."""
    return f"unknown {kind} {name!r}; allowed: {', '.join(names)}{suggestion(name, names)}"


def refuse(problems: Sequence[tuple[tuple[str, ...], str]]) -> NoReturn:
    """Raise several problems at once from inside a pydantic validator.

    Pydantic merges them into the errors of the whole model, each at its own key path; a plain
    ValueError could hold only one, and only for the whole section.
    """
    details = [
        InitErrorDetails(
            type=PydanticCustomError("spec", "{message}", {"message": message}),
            loc=path,
            input=None,
        )
        for path, message in problems
    ]
    raise ValidationError.from_exception_data("spec", details)


def explain(error: ValidationError, model: object) -> list[Problem]:
    """A validation error of a model (or a union of models) in the one form of this module."""
    return [_explain_one(dict(detail), model) for detail in error.errors()]


def _explain_one(error: Mapping[str, Any], model: object) -> Problem:
    path, annotation, field = _walk(model, error["loc"])
    return Problem(path, _message(error, path, annotation, field))


def _message(
    error: Mapping[str, Any],
    path: tuple[str, ...],
    annotation: object,
    field: FieldInfo | None,
) -> str:
    kind, value = error["type"], error["input"]
    if kind == "spec":
        return str(error["msg"])
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return unknown("key", path[-1], _keys(annotation))
    if kind == "missing":
        return f"missing; {allowed_in(field)}" if field else "missing"
    if kind.startswith("union_tag"):
        return _tag_message(value, _tags(annotation))
    if kind == "model_attributes_type" or field is None:
        return f"found {shown(value)}; allowed: a mapping (key: value)"
    return f"found {shown(value)}; {allowed_in(field)}{suggestion(value, literals(field))}"


def _tag_message(value: Mapping[str, Any], tags: Sequence[str]) -> str:
    found = value.get("type")
    seen = f"found type {shown(found)}" if "type" in value else "type is missing"
    return f"{seen}; allowed: {', '.join(tags)}{suggestion(found, tags)}"


def _walk(
    model: object, location: Sequence[int | str]
) -> tuple[tuple[str, ...], object, FieldInfo | None]:
    """Follow a pydantic location.

    Returns:
        The location without pydantic's own tags of union members, what is expected there (the
        enclosing model where the last key is unknown), and the field, if one is there.
    """
    path: list[str] = []
    annotation: object = model
    field: FieldInfo | None = None
    for part in map(str, location):
        member = _member(annotation, part)
        if member is not None:
            annotation = member
            continue
        path.append(part)
        models = models_in(annotation)
        field = next((known for model in models if (known := _field(model, part))), None)
        if field is not None:
            annotation = field.annotation
        elif not models:
            annotation = _item(annotation)
    return tuple(path), annotation, field


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    for key, field in model.model_fields.items():
        if name == (field.alias or key):
            return field
    return None


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The models that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for part in get_args(annotation) for model in models_in(part)]
    return []


def _tags(annotation: object) -> list[str]:
    fields = [model.model_fields.get("type") for model in models_in(annotation)]
    return [tag for field in fields if field for tag in literals(field)]


def _member(annotation: object, tag: str) -> type[BaseModel] | None:
    models = models_in(annotation)
    if len(models) < 2:
        return None
    return next((model for model in models if tag in _tags(model)), None)


def _item(annotation: object) -> object:
    parts = [part for part in get_args(annotation) if part is not Ellipsis]
    return parts[-1] if parts else None


def _keys(annotation: object) -> list[str]:
    return [
        field.alias or key
        for model in models_in(annotation)
        for key, field in model.model_fields.items()
    ]


def literals(field: FieldInfo) -> list[str]:
    """The names that a field allows, if it is one of a few."""
    return [literal for literal in _literals(field.annotation) if isinstance(literal, str)]


def _literals(annotation: object) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [literal for part in get_args(annotation) for literal in _literals(part)]
    return []


def allowed_in(field: FieldInfo) -> str:
    """What a field allows, e.g. `allowed: a number > 0 and <= 1, or null`."""
    limits = " and ".join(_limits(field.metadata))
    words = _words(field.annotation)
    if limits:
        words = [f"{word} {limits}" if "number" in word else word for word in words]
    if any(isinstance(constraint, annotated_types.MinLen) for constraint in field.metadata):
        words = [f"{word}, not empty" if word == "text" else word for word in words]
    return "allowed: " + ", or ".join(words)


def _limits(metadata: Sequence[object]) -> list[str]:
    texts = []
    for constraint in metadata:
        if isinstance(constraint, annotated_types.Gt):
            texts.append(f"> {constraint.gt}")
        elif isinstance(constraint, annotated_types.Ge):
            texts.append(f">= {constraint.ge}")
        elif isinstance(constraint, annotated_types.Lt):
            texts.append(f"< {constraint.lt}")
        elif isinstance(constraint, annotated_types.Le):
            texts.append(f"<= {constraint.le}")
    return texts


_WORDS: Mapping[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}


def _words(annotation: object) -> list[str]:
    """The kinds of value that an annotation allows, in words."""
    if annotation in _WORDS:
        return [_WORDS[annotation]]
    origin = get_origin(annotation)
    if origin is Literal:
        names = [str(argument) for argument in get_args(annotation)]
        return [f"one of {', '.join(names)}" if len(names) > 1 else names[0]]
    if origin is Annotated:
        return _words(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [word for part in get_args(annotation) for word in _words(part)]
    if origin is tuple:
        entry = " or ".join(_words(get_args(annotation)[0]))
        return ["a list, each " + entry.replace("or null", "null")]
    return ["a mapping (key: value)"]

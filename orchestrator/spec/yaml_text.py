"""Reads and writes the YAML of specs: the 1.2 core schema, with the line of every value.

PyYAML reads `1e-4` as text, `on` as true, `1:30` as 90, `010` as 8 and keeps the second of two
equal keys. This dialect reads what YAML 1.2 says and refuses equal keys. Nothing is ever built
from a tag, so a file from a stranger is safe to read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from orchestrator.spec.problems import shown

KeyPath: TypeAlias = tuple[str, ...]

_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_TAG = "tag:yaml.org,2002:"
_INT_BASES = {"0o": 8, "0x": 16}


class SpecLoader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2; aliases are refused."""

    # A table of its own, or the parent's 1.1 scalars would change for everybody.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        """Refuse aliases, so that each value has one line and none grows without bound."""
        if self.check_event(yaml.AliasEvent):
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            problem = f"the alias *{event.anchor} is not supported; write the value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class SpecDumper(yaml.SafeDumper):
    """Writes what `SpecLoader` reads back as the same values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401
        """Write equal values out in full, since aliases are not read."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Quote text with the line break U+0085, which PyYAML writes bare and reads as a space."""
        style = '"' if "\x85" in data else None
        return self.represent_scalar(_TAG + "str", data, style=style)


SpecDumper.add_representer(str, SpecDumper.represent_str)
for _class in (SpecLoader, SpecDumper):
    # The first that matches wins: an integer would also match the pattern of floats.
    for _name, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
        _class.add_implicit_resolver(_TAG + _name, _pattern, None)


class SpecSyntaxError(ValueError):
    """Text that is no YAML; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


@dataclass
class YamlDocument:
    """What a YAML text holds.

    Args:
        value: The value: dicts, lists and scalars.
        lines: Line, from 1, of each key path.
        problems: (path, line, message) of mistakes that leave the rest readable.
    """

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, int, str]] = field(default_factory=list)


def parse_yaml(text: str) -> YamlDocument:
    """Read one YAML document.

    Raises:
        SpecSyntaxError: The text is no YAML, or has several documents.
    """
    try:
        node = SpecLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecSyntaxError(_one_line(error), mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"character {error.character!r} is not allowed in YAML"
        raise SpecSyntaxError(message, line) from error
    document = YamlDocument()
    if node is not None:
        document.value = _build(node, (), document)
    return document


def _one_line(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    text = ": ".join(parts) or "not YAML"
    if "cannot start any token" in text and "\\t" in text:
        text += "; indent with spaces, not tabs"
    return text


def _build(node: yaml.Node, path: KeyPath, document: YamlDocument) -> Any:  # noqa: ANN401
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        pairs = enumerate(node.value)
        return [_build(item, (*path, str(index)), document) for index, item in pairs]
    return _scalar(node, path, document)


def _build_mapping(node: yaml.MappingNode, path: KeyPath, document: YamlDocument) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
            key_text = getattr(key_node, "value", "")
            found = repr(key_text) if isinstance(key_text, str) else "a list or mapping"
            document.problems.append((path, line, f"found {found} as a key; allowed: text"))
            continue
        key_path = (*path, key_node.value)
        if key_node.value in values:
            first = document.lines[key_path]
            message = f"key found again, first in line {first}; keep one"
            document.problems.append((key_path, line, message))
            continue
        document.lines[key_path] = line
        values[key_node.value] = _build(value_node, key_path, document)
    return values


def _scalar(node: yaml.Node, path: KeyPath, document: YamlDocument) -> Any:  # noqa: ANN401
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        return _number(text, kind)
    except ValueError:
        line = node.start_mark.line + 1
        message = f"found tag {node.tag} on {shown(text)}; allowed: no tags"
        document.problems.append((path, line, message))
        return text


def _number(text: str, kind: str) -> int | float:
    if kind == "int":
        base = _INT_BASES.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if kind == "float":
        named = text.lower().replace(".inf", "inf").replace(".nan", "nan")
        return float(named)
    raise ValueError(kind)


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Text that `parse_yaml` reads back as the same values, keys in the given order."""
    return yaml.dump(
        value, Dumper=SpecDumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )

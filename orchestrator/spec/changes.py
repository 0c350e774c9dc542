"""What differs between the spec that a sweep was launched with and another, key by key."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.ablation import EPOCHS
from orchestrator.spec.problems import shown
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.yaml_text import parse_yaml

# Key paths that options of `resume` change.
_EXTENSIONS = {
    "search.trials": "--trials",
    "ablation.seeds": "--seeds",
    "budget.gpu_hours": "--budget gpu_hours=",
    "budget.wall_hours": "--budget wall_hours=",
    "budget.trials": "--budget trials=",
    "budget.money": "--budget money=",
    "early_stopping.max_epochs": "--epochs",
    f"settings.{EPOCHS}": "--epochs",
}
_PRICES = "prices."
_ABSENT = object()
_NOTHING = "nothing"


def spec_changes(launched: str, spec: SweepSpec) -> dict[str, tuple[str, str]]:
    """Key paths that differ, with the old and the new value as text; empty if none does.

    Args:
        launched: The sweep's spec as YAML, perhaps written by another version.
        spec: The new one.
    """
    old, new = (dict(_leaves(parse_yaml(text).value)) for text in (launched, spec.dump_yaml()))
    paths = [*old, *(path for path in new if path not in old)]
    return {
        path: (_text(old.get(path, _ABSENT)), _text(new.get(path, _ABSENT)))
        for path in paths
        if old.get(path, _ABSENT) != new.get(path, _ABSENT)
    }


def extensions(changes: Mapping[str, tuple[str, str]]) -> str | None:
    """Options of `resume` that make the same changes; None if it cannot make them all."""
    prices = [new for path, (_, new) in changes.items() if path.startswith(_PRICES)]
    others = {path: new for path, (_, new) in changes.items() if not path.startswith(_PRICES)}
    takes_prices_away = bool(prices) and set(prices) == {_NOTHING}
    if takes_prices_away or not others.keys() <= _EXTENSIONS.keys():
        return None
    options = {
        _EXTENSIONS[path]: "null" if new == _NOTHING else new for path, new in others.items()
    } | ({"--prices": "FILE"} if prices else {})
    return " ".join(
        f"{option}{new}" if option.endswith("=") else f"{option} {new}"
        for option, new in sorted(options.items())
    )


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _leaves(entry, (*path, str(key)))
    else:
        yield ".".join(path), value


def _text(value: object) -> str:
    return _NOTHING if value is _ABSENT else shown(value)

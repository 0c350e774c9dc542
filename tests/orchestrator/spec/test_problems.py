"""Nearest names, and pydantic's errors in words of our own."""

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.base.text import nearest
from orchestrator.spec.problems import Problem, explain, refuse, shown
from prvr_model.settings import setting_paths


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("losses.tua", "losses.tau"),
        ("tau", "losses.tau"),
        ("tua", "losses.tau"),
        ("Losses.Tau", "losses.tau"),
        ("loss.cbva_weight", "losses.cbva_weight"),
        ("training.learning_rate", "optimizer.learning_rate"),
        ("merge_rate", "model.merge_ratio"),
        ("qqqqqqq", None),
    ],
)
def test_nearest_setting(name: str, expected: str | None) -> None:
    assert nearest(name, setting_paths()) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("max", "maximize"), ("mi", "minimize"), ("m", None), ("MINIMIZE", "minimize")],
)
def test_nearest_choice(name: str, expected: str | None) -> None:
    assert nearest(name, ["maximize", "minimize"]) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("on", "'on'"), (1.5, "1.5"), ((1, 2), "[1, 2]")],
)
def test_values_are_shown_as_yaml_has_them(value: object, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 60


class Inner(BaseModel):
    size: int = 1


class Outer(BaseModel):
    inner: Inner = Inner()
    by_name: dict[str, Inner] = {}


def test_locations_lead_through_models_and_mappings() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"size": "x"}, "by_name": {"a.b": {"size": None}}})
    assert explain(caught.value, Outer) == [
        Problem(("inner", "size"), "found 'x'; allowed: a whole number"),
        Problem(("by_name", "a.b", "size"), "found null; allowed: a whole number"),
    ]


def test_several_refusals_keep_their_places() -> None:
    with pytest.raises(ValidationError) as caught:
        refuse([(("inner",), "one"), (("by_name", "a"), "{two}")])
    assert explain(caught.value, Outer) == [
        Problem(("inner",), "one"),
        Problem(("by_name", "a"), "{two}"),
    ]

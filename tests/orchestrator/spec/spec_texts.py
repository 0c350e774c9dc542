"""A small spec for the tests of specs, and its problems."""

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec

SPEC = """\
name: small
question: Which tau?
data: builtin
settings:
  model.hidden_size: 64
  optimizer.schedule_epochs: 9
  losses.hard_negative_epoch: 2
search:
  sampler: tpe
  trials: 12
  parameters:
    losses.tau: {type: float, low: 0.5, high: 0.9}
early_stopping: {method: asha, first_rung: 3, max_epochs: 9}
"""


def spec_of(*overrides: str, text: str = SPEC) -> SweepSpec:
    """The spec with `--set` overrides."""
    return read_spec(text, overrides, "small.yaml")


def problems_of(*overrides: str, text: str = SPEC) -> tuple[str, ...]:
    """What is wrong with a text and overrides, a line each."""
    with pytest.raises(SpecError) as caught:
        spec_of(*overrides, text=text)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def problem_of(*overrides: str, text: str = SPEC) -> str:
    """The only thing that is wrong."""
    (problem,) = problems_of(*overrides, text=text)
    return problem

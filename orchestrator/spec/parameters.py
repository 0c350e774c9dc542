"""The kinds of parameter that a search varies; they know their values, not their settings."""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.spec.conditions import Conditional, Scalar
from orchestrator.spec.problems import refuse, shown


class _Parameter(Conditional, ABC):
    model_config = ConfigDict(use_attribute_docstrings=True)

    def values(self) -> Sequence[Scalar]:
        """All values of a countable parameter, in order."""
        count = self.num_values
        assert count is not None, "a continuous parameter has no list of values"
        return [self.value_at(k) for k in range(count)]

    @property
    @abstractmethod
    def num_values(self) -> int | None:
        """Number of different values; None: uncountable."""

    @abstractmethod
    def value_at(self, index: int) -> Scalar:
        """The value number `index`."""


def _scalars(value: object) -> object:
    """A list from YAML as a tuple; refuses choices that Optuna cannot store."""
    if not isinstance(value, list | tuple):
        return value
    refused = [entry for entry in value if not isinstance(entry, bool | int | float | str | None)]
    if refused:
        found = ", ".join(shown(choice) for choice in refused)
        raise ValueError(f"found {found} as a choice; allowed: text, numbers, true, false, null")
    return tuple(value)


class FloatParameter(_Parameter):
    """A number between two bounds."""

    type: Literal["float"]
    """Kind of the parameter."""
    low: float
    """Smallest value."""
    high: float
    """Largest value; not reached where `step` does not divide the range."""
    log: bool = False
    """Whether to search the logarithm: equal ratios are equally likely."""
    step: float | None = Field(None, gt=0)
    """Distance between neighbouring values; null: any value between the bounds."""

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        problems = _bounds_problems(self.low, self.high, self.log)
        if self.log and self.step is not None:
            problems.append((("step",), _LOG_AND_STEP))
        if problems:
            refuse(problems)
        return self

    @property
    def num_values(self) -> int | None:
        """Number of different values; None: uncountable."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return int((_decimal(self.high) - _decimal(self.low)) // _decimal(self.step)) + 1

    def value_at(self, index: int) -> float:
        """The value number `index`, exact to its decimal digits (0.55, not 0.55000000001)."""
        if self.step is None:
            return self.low
        return float(_decimal(self.low) + index * _decimal(self.step))

    @property
    def ends(self) -> tuple[float, ...]:
        """Smallest and largest value that can be drawn."""
        count = self.num_values
        highest = self.high if count is None else self.value_at(count - 1)
        return (self.low, highest) if highest != self.low else (self.low,)

    def draw(self, generator: random.Random) -> float:
        """A value at random, to try whether settings can be built from it."""
        if self.num_values is not None:
            return self.value_at(generator.randrange(self.num_values))
        if self.log:
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)

    def has(self, value: object) -> bool:
        """Whether a value can be drawn."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.ends[-1] and self.snap(value) == value

    @property
    def range_text(self) -> str:
        """Its values in a few words, e.g. `0.5 to 0.95 by 0.05`."""
        span = f"{self.low:g} to {self.high:g}"
        if self.log:
            return f"{span}, logarithmic"
        return f"{span} by {self.step:g}" if self.step else span

    def snap(self, value: Any) -> Any:  # noqa: ANN401
        """A stepped value without the rounding noise of a sampler's arithmetic.

        Samplers give 0.6000000000000001 for 0.6; the content key would take them for two trials.
        """
        if self.step is None or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return self.value_at(round((value - self.low) / self.step))


class IntParameter(_Parameter):
    """A whole number between two bounds."""

    type: Literal["int"]
    """Kind of the parameter."""
    low: int
    """Smallest value."""
    high: int
    """Largest value; not reached where `step` does not divide the range."""
    log: bool = False
    """Whether to search the logarithm: equal ratios are equally likely."""
    step: int = Field(1, ge=1)
    """Distance between neighbouring values."""

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        problems = _bounds_problems(self.low, self.high, self.log)
        if self.log and self.step != 1:
            problems.append((("step",), _LOG_AND_STEP))
        if problems:
            refuse(problems)
        return self

    @property
    def num_values(self) -> int:
        """Number of different values."""
        return (self.high - self.low) // self.step + 1

    def value_at(self, index: int) -> int:
        """The value number `index`."""
        return self.low + index * self.step

    @property
    def ends(self) -> tuple[int, ...]:
        """Smallest and largest value that can be drawn."""
        highest = self.value_at(self.num_values - 1)
        return (self.low, highest) if highest != self.low else (self.low,)

    def draw(self, generator: random.Random) -> int:
        """A value at random, to try whether settings can be built from it."""
        return self.value_at(generator.randrange(self.num_values))

    def has(self, value: object) -> bool:
        """Whether a value can be drawn."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    @property
    def range_text(self) -> str:
        """Its values in a few words, e.g. `1 to 8 by 1`."""
        span = f"{self.low} to {self.high}"
        return f"{span}, logarithmic" if self.log else f"{span} by {self.step}"

    def snap(self, value: Any) -> Any:  # noqa: ANN401
        """The value itself: whole numbers carry no noise."""
        return value


class CategoricalParameter(_Parameter):
    """One of a few values without an order."""

    type: Literal["categorical"]
    """Kind of the parameter."""
    choices: Annotated[tuple[Scalar, ...], BeforeValidator(_scalars)]
    """The values; each must be allowed by the setting."""

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if not self.choices:
            refuse([(("choices",), "found an empty list; allowed: one value or more")])
        twice = {
            shown(choice) for k, choice in enumerate(self.choices) if choice in self.choices[:k]
        }
        if twice:
            refuse([(("choices",), f"found {', '.join(sorted(twice))} twice; allowed: once")])
        return self

    @property
    def num_values(self) -> int:
        """Number of different values."""
        return len(self.choices)

    def value_at(self, index: int) -> Scalar:
        """The value number `index`."""
        return self.choices[index]

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """All values: without an order each is an end."""
        return self.choices

    def draw(self, generator: random.Random) -> Scalar:
        """A value at random, to try whether settings can be built from it."""
        return generator.choice(self.choices)

    def has(self, value: object) -> bool:
        """Whether a value can be drawn."""
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool)
            for choice in self.choices
        )

    @property
    def range_text(self) -> str:
        """Its values in a few words, e.g. `fixed | adaptive`."""
        return " | ".join("null" if value is None else str(value) for value in self.choices)

    def snap(self, value: Any) -> Any:  # noqa: ANN401
        """The value itself."""
        return value


Parameter: TypeAlias = Annotated[
    FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="type")
]

# Optuna refuses the same: equal ratios and equal distances contradict each other.
_LOG_AND_STEP = "found step together with log: true; allowed: one of them"


def uneven(parameter: FloatParameter | IntParameter) -> str | None:
    """A warning if the step does not divide the range; None if it does."""
    if parameter.step is None or parameter.ends[-1] == parameter.high:
        return None
    return (
        f"step {parameter.step} does not divide {parameter.low}..{parameter.high}; "
        f"the largest value tried is {parameter.ends[-1]}"
    )


def _bounds_problems(low: float, high: float, log: bool) -> list[tuple[tuple[str, ...], str]]:
    problems: list[tuple[tuple[str, ...], str]] = []
    if low > high:
        problems.append((("low",), f"found {low}; allowed: at most high, {high}"))
    if log and low <= 0:
        problems.append((("low",), f"found {low} with log: true; allowed: a number > 0"))
    return problems


def _decimal(value: float) -> Decimal:
    # Through the shortest text, so that 0.05 is 5/100 and steps add up exactly.
    return Decimal(repr(value))

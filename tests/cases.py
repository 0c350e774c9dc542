"""Which cases of a slow test every run tries, and which ones the soak alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def rest_in_soak(cases: Iterable[Any], quick: int = 1) -> list[Any]:
    """Parameters of a test: the first `quick` run in `make test`, all others in `make soak`."""
    return [
        case if number < quick else pytest.param(*_values(case), marks=pytest.mark.soak)
        for number, case in enumerate(cases)
    ]


def _values(case: object) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)

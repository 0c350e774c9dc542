"""What an hour of a GPU or CPU costs, by accelerator or machine type, spot and on-demand apart.

prices: {currency: EUR, gpu_hour: {H100: 3.20, A100: 1.90}, cpu_hour: 0.04,
         spot: {gpu_hour: {H100: 1.10}, cpu_hour: 0.01}}
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from orchestrator.base.addresses import user_path
from orchestrator.base.errors import SpecError
from orchestrator.base.text import suggestion
from orchestrator.spec.problems import Problem, explain, refuse, shown
from orchestrator.spec.sections import Budget, PathProblems, SpecSection, TrialResources
from orchestrator.spec.yaml_text import SpecSyntaxError, YamlDocument, parse_yaml

PRICES_VARIABLE = "PRVR_PRICES"
"""Names a YAML file with prices, for sweeps that have none of their own."""
_NUMBER = "a number >= 0"
_LONGEST_CURRENCY = 8


@dataclass(frozen=True)
class MachineKind:
    """What kind of machine work runs on; None where that is not known.

    Args:
        accelerator: Kind of its GPUs as Ray names it, e.g. `H100`.
        instance: Type of the machine as its cloud names it, e.g. `g5.2xlarge`.
        is_spot: Whether it may be taken away at a lower price.
    """

    accelerator: str | None = None
    instance: str | None = None
    is_spot: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that may have a price, the more exact one first."""
        return tuple(name for name in (self.instance, self.accelerator) if name)

    def __str__(self) -> str:
        text = " with ".join(self.names) or "an unknown machine"
        return f"{text} (spot)" if self.is_spot else text


def _hour_price(value: object) -> object:
    """One price for all machines, or a price for each name."""
    if not isinstance(value, Mapping):
        if value is None or _is_price(value):
            return value
        raise ValueError(f"found {shown(value)}; allowed: {_NUMBER}, or {{NAME: {_NUMBER}}}")
    problems: PathProblems = [
        ((str(name),), f"found {shown(price)}; allowed: {_NUMBER}")
        for name, price in value.items()
        if not _is_price(price)
    ]
    problems += [] if value else [((), f"found no name; allowed: {{NAME: {_NUMBER}}}")]
    twice = [name for k, name in enumerate(value) if _plain(name) in map(_plain, [*value][:k])]
    problems += [((name,), "found twice, as case does not count; allowed: once") for name in twice]
    if problems:
        refuse(problems)
    return {name: float(price) for name, price in value.items()}


def _is_price(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isfinite(value) and value >= 0  # type: ignore[arg-type, operator]


def _plain(name: object) -> str:
    return str(name).lower()


HourPrice: TypeAlias = Annotated[float | dict[str, float] | None, BeforeValidator(_hour_price)]


class HourPrices(SpecSection):
    """Prices of an hour of one GPU and of one CPU, for all machines or by their names."""

    gpu_hour: HourPrice = None
    """A GPU-hour, by accelerator (`H100`) or machine type (`g5.2xlarge`), which wins."""
    cpu_hour: HourPrice = None
    """A CPU-hour; null in all prices: the CPUs beside a GPU are part of the GPU's price."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.gpu_hour is None and self.cpu_hour is None:
            raise ValueError("found no price; allowed: gpu_hour, cpu_hour, or both")
        return self

    def price(self, what: str, kind: MachineKind) -> float | None:
        """A price of `gpu_hour` or `cpu_hour`; None if it is not known.

        Where a machine of unknown names could be any, it is the highest.
        """
        prices: float | dict[str, float] | None = getattr(self, what)
        if not isinstance(prices, dict):
            return prices
        if not kind.names:
            return max(prices.values())
        known = {_plain(name): price for name, price in prices.items()}
        return next((known[_plain(name)] for name in kind.names if _plain(name) in known), None)


def _currency(name: str) -> str:
    is_word = name.isprintable() and not set(name) & {*" 0123456789"}
    if is_word and 0 < len(name) <= _LONGEST_CURRENCY:
        return name
    raise ValueError(
        f"found {shown(name)}; allowed: a name such as EUR, of at most {_LONGEST_CURRENCY} letters"
    )


class Prices(HourPrices):
    """Prices of machines on demand, or of your own, and of spot machines."""

    currency: Annotated[str, AfterValidator(_currency)]
    """Name of the currency, shown with every amount."""
    spot: HourPrices | None = None
    """Prices of spot machines; null: they have none."""

    def hour(self, kind: MachineKind, resources: TrialResources) -> float | None:
        """Price of an hour of one worker; None if a price is missing, see `lacks`.

        Of a machine that is not known at all it is the highest price of any.

        Args:
            kind: The machine that it runs on.
            resources: What it occupies.
        """
        if kind == MachineKind():
            return self.highest(resources)
        return self._hour(kind, resources)

    def highest(self, resources: TrialResources) -> float | None:
        """The highest price of an hour of one worker on any machine; None if none has a price."""
        kinds = (MachineKind(is_spot=is_spot) for is_spot in (False, True))
        return max(
            (price for kind in kinds if (price := self._hour(kind, resources)) is not None),
            default=None,
        )

    def is_assumed(self, kind: MachineKind, *, is_recorded: bool) -> bool:
        """Whether another machine than the one that is assumed might have another price."""
        prices = (self.spot if kind.is_spot else self) or self
        by_name = any(isinstance(price, dict) for price in (prices.gpu_hour, prices.cpu_hour))
        return (by_name and not kind.names) or (self.spot is not None and not is_recorded)

    def lacks(self, kind: MachineKind, resources: TrialResources) -> str:
        """Which price is missing where `hour` is None, and the nearest name that has one."""
        parts = self._parts(kind, resources)
        missing = next((what for what, _, price in parts if price is None), "gpu_hour")
        named = {*self._names(self), *(self._names(self.spot) if self.spot else ())}
        near = (suggestion(name, named) for name in kind.names)
        return f"no {missing} price for {kind}{next(filter(None, near), '')}"

    def _hour(self, kind: MachineKind, resources: TrialResources) -> float | None:
        total = 0.0
        for _, devices, price in self._parts(kind, resources):
            if price is None:
                return None
            total += devices * price
        return total

    def _parts(
        self, kind: MachineKind, resources: TrialResources
    ) -> Iterator[tuple[str, float, float | None]]:
        """What an hour of a worker is made of: name, devices, price of each."""
        prices = self.spot if kind.is_spot else self
        has_cpus = any(part is not None and part.cpu_hour is not None for part in (self, self.spot))
        wanted = {"gpu_hour": resources.gpus, "cpu_hour": float(resources.cpus)}
        for what, devices in wanted.items():
            # Without a price of CPUs they are part of the GPU's.
            if devices and (what == "gpu_hour" or has_cpus or not resources.gpus):
                yield what, devices, prices.price(what, kind) if prices else None

    @staticmethod
    def _names(prices: HourPrices) -> Iterator[str]:
        for part in (prices.gpu_hour, prices.cpu_hour):
            yield from part if isinstance(part, dict) else ()


def money_problems(
    budget: Budget | None, prices: Prices | None, resources: TrialResources
) -> PathProblems:
    """Why a budget of money could not be kept: nothing that trials occupy has a price."""
    if budget is None or budget.money is None:
        return []
    found = f"found {budget.money:g}"
    if prices is None:
        message = f"{found}; needs prices, in the file or in that of {PRICES_VARIABLE}"
        return [(("budget", "money"), message)]
    what = "gpu_hour" if resources.gpus else "cpu_hour"
    if all(part is None or getattr(part, what) is None for part in (prices, prices.spot)):
        return [(("budget", "money"), f"{found}; needs prices.{what}, as trials take no other")]
    return []


def given_prices() -> Prices | None:
    """The prices of the file that `PRVR_PRICES` names; None if it names none.

    Raises:
        SpecError: The file cannot be read, or is no list of prices.
    """
    name = os.environ.get(PRICES_VARIABLE)
    return load_prices(user_path(name), PRICES_VARIABLE) if name else None


def load_prices(path: Path, said_by: str) -> Prices:
    """Prices from a YAML file, which holds a section `prices` or its content alone.

    Args:
        path: The file.
        said_by: The option or variable that names it.

    Raises:
        SpecError: The file cannot be read, or is no list of prices; all problems at once.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "not text in UTF-8"
        raise SpecError([f"{path}: cannot be read ({said_by}): {found}"]) from error
    except SpecSyntaxError as error:
        raise SpecError([f"{path}:{error.line}: not YAML ({said_by}): {error}"]) from error
    return _checked(document, path)


def _checked(document: YamlDocument, path: Path) -> Prices:
    value: Any = document.value
    inside = ("prices",) if isinstance(value, dict) and list(value) == ["prices"] else ()
    problems = [(line, Problem(where, message)) for where, line, message in document.problems]
    try:
        prices = Prices.model_validate(value["prices"] if inside else value)
    except ValidationError as error:
        for problem in explain(error, Prices):
            where = (*inside, *problem.path)
            problems.append((_line(document, where), Problem(where, problem.message)))
    if problems:
        ordered = sorted(problems, key=lambda problem: problem[0])
        raise SpecError([f"{path}:{line}: {problem}" for line, problem in ordered])
    return prices


def _line(document: YamlDocument, path: tuple[str, ...]) -> int:
    """Line of a key, or of the section that should hold it."""
    while path and path not in document.lines:
        path = path[:-1]
    return document.lines.get(path, 1)

"""Errors that are shown to the user, each with the command line's exit code."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class PrvrError(Exception):
    """An error with a message for the user.

    The command line prints the message without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class DataError(PrvrError):
    """Features, captions or a store are missing, damaged or contradict each other."""

    exit_code = 3


class StoreError(DataError):
    """A feature store cannot be read or written."""


class GalleryError(DataError):
    """A gallery cannot be read or written, or what meets it does not fit it."""


class CorpusError(DataError):
    """A corpus has problems; `problems` holds every line that the message shows."""

    def __init__(self, summary: str, problems: Sequence[str]) -> None:
        self.summary = summary
        self.problems = tuple(problems)
        super().__init__("\n".join([summary, *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors are pickled between processes, by default with the message as only argument.
        return type(self), (self.summary, self.problems)


class SettingsError(PrvrError):
    """A setting has a value that cannot be used; `problems` are (dotted path, message) pairs."""

    exit_code = 2

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        # A problem between settings has no path.
        lines = (f"{path}: {message}" if path else message for path, message in self.problems)
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class CheckpointError(PrvrError):
    """A checkpoint is missing, damaged or belongs to other settings."""

    exit_code = 3


class NonFiniteError(PrvrError):
    """A loss term or a gradient became NaN or infinite; the weights were left as they were."""

    def __init__(self, term: str, epoch: int, step: int) -> None:
        self.term = term
        self.epoch = epoch
        self.step = step
        super().__init__(
            f"{term} is not finite in epoch {epoch}, step {step}; training stopped before "
            "the optimizer step. A lower optimizer.learning_rate or smaller loss weights "
            "usually help; check the features with `prvr-sweep data inspect STORE`."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.term, self.epoch, self.step)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` where one of `names` is near, whatever its capitals; else nothing."""
    known = {candidate.casefold(): candidate for candidate in names}
    near = get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[near[0]]}?" if near else ""

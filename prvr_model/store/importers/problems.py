"""Collects everything that is wrong with a corpus, so that one run reports it all."""

from collections import Counter

from prvr_model.errors import CorpusError, DataError

# Half a file that is missing gives thousands of similar problems; twenty show the pattern.
SHOWN_PER_KIND = 20


class ProblemError(DataError):
    """One problem of a corpus, to be collected under its `kind`."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        super().__init__(detail)


class Problems:
    """Problems by kind, in the order in which kinds first came up, and hints at their cause.

    It is true if it holds any problem: `if problems: ...`.
    """

    def __init__(self) -> None:
        self._shown: dict[str, Counter[str]] = {}
        self._counts: Counter[str] = Counter()
        self._hints: list[str] = []

    def add(self, kind: str, detail: str) -> None:
        """Record a problem; the first different ones of each kind are kept, others counted."""
        shown = self._shown.setdefault(kind, Counter())
        if detail in shown or len(shown) < SHOWN_PER_KIND:
            shown[detail] += 1
        self._counts[kind] += 1

    def hint(self, text: str) -> None:
        """Say what probably causes problems that are recorded; shown once, before them."""
        if text not in self._hints:
            self._hints.append(text)

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def count(self) -> int:
        """Number of problems, shown or not."""
        return self._counts.total()

    def lines(self) -> list[str]:
        """Every line to show: hints, then of each kind the first problems and how many more."""
        lines = [f"hint: {text}" for text in self._hints]
        for kind, shown in self._shown.items():
            for detail, items in shown.items():
                lines.append(f"{kind}: {detail}" + (f" ({items} items)" if items > 1 else ""))
            if more := self._counts[kind] - shown.total():
                lines.append(f"{kind}: and {more} more ({self._counts[kind]} in all)")
        return lines

    def error(self, action: str) -> CorpusError:
        """The error that ends an action, e.g. `import tvr`."""
        found = "1 problem" if self.count == 1 else f"{self.count} problems"
        return CorpusError(f"cannot {action}: {found}, no store written", self.lines())

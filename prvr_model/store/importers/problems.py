"""Collects everything that is wrong with a corpus, so that one run reports it all."""

from collections import Counter

from prvr_model.errors import CorpusError

# Half a file that is missing gives thousands of similar problems; twenty show the pattern.
SHOWN_PER_KIND = 20


class Problems:
    """Problems by kind, in the order in which kinds first came up.

    It is true if it holds any problem: `if problems: ...`.
    """

    def __init__(self) -> None:
        self._shown: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, detail: str) -> None:
        """Record a problem; only the first ones of each kind are kept, the others counted."""
        shown = self._shown.setdefault(kind, [])
        if len(shown) < SHOWN_PER_KIND:
            shown.append(detail)
        self._counts[kind] += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def count(self) -> int:
        """Number of problems, shown or not."""
        return self._counts.total()

    def lines(self) -> list[str]:
        """Every line to show: the first problems of each kind, then how many more there are."""
        lines = []
        for kind, shown in self._shown.items():
            lines += [f"{kind}: {detail}" for detail in shown]
            if more := self._counts[kind] - len(shown):
                lines.append(f"{kind}: and {more} more ({self._counts[kind]} in all)")
        return lines

    def error(self, corpus: str) -> CorpusError:
        """The error that ends the import of `corpus`."""
        found = "1 problem" if self.count == 1 else f"{self.count} problems"
        return CorpusError(f"cannot import {corpus}: {found}, no store written", self.lines())

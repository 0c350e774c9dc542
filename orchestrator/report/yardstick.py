"""By how much training beats the frozen features of a sweep's data, or that it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from orchestrator.report.candidates import candidates
from orchestrator.report.formatting import RECALLS, number
from orchestrator.report.reading import SweepData
from orchestrator.report.sweep_comparison import ranked_runs
from orchestrator.statistics.comparison import Comparison
from orchestrator.statistics.crossed import CrossedMean, Interval, crossed_mean
from orchestrator.statistics.outcomes import VariantRuns, kept_outcome
from orchestrator.statistics.table import LEVEL, ComparisonTable, against_fixed
from orchestrator.study.frozen_ranks import FrozenRanks

FROZEN = "frozen:"
"""What names of rows begin with, as `evaluate` calls them; the form follows."""
FROZEN_NOTE = (
    "frozen: what the features themselves retrieve, untrained, by the largest cosine of a row "
    "(maximum) or by segments on every scale; the interval is for new videos."
)


@dataclass(frozen=True)
class FrozenRow:
    """One form of the frozen features, which has no seeds.

    Args:
        name: `FROZEN` and the form, see `retrieval.frozen`.
        recalls: Recalls on validation in percent, by `R1` to `SumR`; see `FrozenRanks.recalls`.
        test: The same on test; None without such a split.
        estimate: Mean of the objective and its variance; None if the data cannot be opened, or the
            objective has no ranks.
    """

    name: str
    recalls: Mapping[str, float]
    test: Mapping[str, float] | None
    estimate: CrossedMean | None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the objective for new videos; None without an estimate."""
        return self.estimate.interval_of_videos(LEVEL) if self.estimate else None

    def recall_cells(self, split: str = "val") -> list[str]:
        """Recalls as cells of a table."""
        return self.cells(split, "", RECALLS)

    def cells(self, split: str, group: str, names: Sequence[str]) -> list[str]:
        """Metrics of a group, e.g. `verified`, as cells of a table; of no group if it is empty."""
        found = (self.test or {}) if split == "test" else self.recalls
        prefix = f"{group}/" if group else ""
        return [number(found.get(f"{prefix}{name}")) for name in names]


@dataclass(frozen=True)
class Yardstick:
    """The frozen features of a sweep's data and how its configurations compare with them.

    Args:
        rows: Each form.
        table: Every configuration against every form, corrected over all of these; None without
            ranks or data.
    """

    rows: tuple[FrozenRow, ...]
    table: ComparisonTable | None

    def against_strongest(self, configuration: str) -> Comparison | None:
        """A configuration against the form with the best mean; None if it is not compared."""
        if self.table is None:
            return None
        found = [each for each in self.table.comparisons if each.contrast.variant == configuration]
        return min(found, key=lambda each: each.difference, default=None)


def yardstick(
    data: SweepData, rows: Sequence[VariantRuns], ablation: ComparisonTable | None
) -> Yardstick | None:
    """The yardstick of a sweep; None if the home has no ranks by frozen features of its data.

    Args:
        data: The sweep.
        rows: Runs of an ablation's rows; none of a search, of which the best is compared.
        ablation: The comparisons of the rows, which tell how often these were looked at.
    """
    frozen = data.frozen
    if frozen is None:
        return None
    totals = _totals(data, frozen)
    found = tuple(_row(data, frozen, form, totals.get(_name(form))) for form in frozen.forms)
    return Yardstick(found, _table(data, totals, rows or _best(data), ablation))


def _name(form: str) -> str:
    return f"{FROZEN}{form}"


def _totals(data: SweepData, frozen: FrozenRanks) -> dict[str, Float[np.ndarray, "videos"]]:
    """Sum of the objective's outcomes over each video, by row; empty if they are not known."""
    outcome, videos = kept_outcome(data.spec.objective.metric), data.videos
    if outcome is None or videos is None:
        return {}
    found = {form: outcome.of(frozen.kept("val", form)) for form in frozen.forms}
    return {
        _name(form): videos.totals(of_form[None])[0]
        for form, of_form in found.items()
        if of_form is not None and len(of_form) == videos.num_queries
    }


def _row(data: SweepData, frozen: FrozenRanks, form: str, totals: np.ndarray | None) -> FrozenRow:
    estimate = None
    if totals is not None and data.videos is not None:
        estimate = crossed_mean(totals[None], data.videos.counts)
    recalls = frozen.recalls("val", form)
    assert recalls is not None, "a form is one that validation was ranked by"
    return FrozenRow(_name(form), recalls, frozen.recalls("test", form), estimate)


def _best(data: SweepData) -> list[VariantRuns]:
    """What a search found; none if its ranks cannot be read."""
    if data.spec.rows:
        return []
    found = [
        ranked_runs(data, data, each, data.problems) for each in candidates(data.spec, data.study)
    ]
    return [ranked.runs for ranked in found if ranked is not None]


def _table(
    data: SweepData,
    totals: Mapping[str, np.ndarray],
    runs: Sequence[VariantRuns],
    ablation: ComparisonTable | None,
) -> ComparisonTable | None:
    """Larger values are better, so a sweep that minimizes has no table."""
    if data.videos is None or not totals or not runs or data.study.direction != "maximize":
        return None
    looks = (ablation.race, ablation.extension) if ablation else (None, None)
    return against_fixed(runs, totals, data.videos.counts, *looks)

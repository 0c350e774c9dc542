"""A sweep over several data sets as its home has it: which parts have begun, what each one is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.spec.joint import JointSpec, rows_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import confirmed_configurations
from orchestrator.study.joint_record import JointRecord, opened_joint
from orchestrator.study.reader import StudyReader, begun_study
from prvr_model.errors import StoreError


@dataclass(frozen=True)
class JointSweep:
    """A sweep over several data sets that was launched.

    Args:
        home: Its home, absolute.
        spec: Its spec.
        record: What the home keeps of it.
    """

    home: Path
    spec: JointSpec
    record: JointRecord

    @classmethod
    def open(cls, home: Path, name: str) -> "JointSweep":
        """The sweep of a name.

        Raises:
            SweepNotFoundError: The home has no sweep over several data sets of this name.
            SpecError: Another version wrote its spec, which this one cannot read.
        """
        record, spec = opened_joint(home, name)
        return cls(home, spec, record)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    def study(self, data: str) -> StudyReader | None:
        """The study of a part; None if it has no trial yet."""
        return begun_study(self.home, self.spec.parts[data].name)

    @property
    def begun(self) -> tuple[str, ...]:
        """Data sets whose part has a trial."""
        return tuple(data for data in self.spec.parts if self.study(data) is not None)

    def part(self, data: str) -> SweepSpec | None:
        """The sweep of a data set that has not begun.

        None while it is not known: the search has not confirmed anything yet.
        """
        described = self.spec.parts[data]
        if not self.spec.is_search or described is self.spec.first:
            return described
        searched = begun_study(self.home, self.spec.first.name)
        configurations = confirmed_configurations(searched) if searched else {}
        return rows_spec(described, configurations) if configurations else None


@contextmanager
def naming(data: str) -> Iterator[None]:
    """Say of which data set a store's error is."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"data set {data}: {error}") from error

"""Checks what usually goes wrong before a sweep starts; starts nothing, leaves nothing behind."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.text import count
from orchestrator.preflight.check_cluster import check_cluster
from orchestrator.preflight.check_devices import check_devices
from orchestrator.preflight.check_locations import check_home, check_storage
from orchestrator.preflight.check_machine import check_machine
from orchestrator.preflight.check_packages import check_packages
from orchestrator.preflight.check_tracking import check_study, check_tracking
from orchestrator.preflight.finding import Finding, fine, problem
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.errors import PrvrError


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that keep sweeps from running or from being seen."""
        return tuple(finding for finding in self.findings if finding.level == "problem")

    @property
    def exit_code(self) -> int:
        """1 where there is a problem; warnings do not count."""
        return 1 if self.problems else 0

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as JSON values."""
        return {
            "problems": len(self.problems),
            "warnings": sum(finding.level == "warning" for finding in self.findings),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def render(self) -> str:
        """The diagnosis as text for the terminal."""
        counts = self.to_dict()
        lines = [line for finding in self.findings for line in finding.lines()]
        totals = [count(counts[f"{level}s"], level) for level in ("problem", "warning")]
        return "\n".join([*lines, ", ".join(totals)])


def examine(
    home: Path,
    storage: str | None = None,
    tracking_uri: str | None = None,
    address: str | None = None,
    specs: Sequence[SweepSpec] = (),
) -> Diagnosis:
    """Check everything that a sweep would use.

    Args:
        home: Home folder, absolute; need not exist.
        storage: URI or absolute path of trial folders; None means the home.
        tracking_uri: MLflow server or database; None means the home's.
        address: Address of a running Ray cluster; None means a Ray that the sweep starts itself.
        specs: Sweeps that are to be run, each on its own data.
    """
    findings = _findings(home, storage, tracking_uri, address, specs)
    return Diagnosis(tuple(findings))


def _findings(
    home: Path,
    storage: str | None,
    tracking_uri: str | None,
    address: str | None,
    specs: Sequence[SweepSpec],
) -> Iterator[Finding]:
    yield from check_packages()
    yield from check_home(home)
    yield from check_storage(storage, home)
    yield check_tracking(tracking_uri, home)
    yield check_study(home)
    yield from check_machine(home)
    yield from check_devices()
    if address is not None:
        yield from check_cluster(address)
    for spec in specs:
        yield check_spec(spec, address)


def check_spec(spec: SweepSpec, address: str | None) -> Finding:
    """Whether a sweep finds its data and fits where it is to run; nothing is written."""
    from orchestrator.preflight.plan import plan_here, plan_on

    try:
        _ = plan_here(spec) if address is None else plan_on(spec, address, probe=False)
    except PrvrError as error:
        message = f"{spec.name}: {error}"
        return problem("sweep", message, "correct it in the YAML file, or with --set")
    return fine("sweep", f"{spec.name}: {spec.num_trials} trials, and there is room for them")

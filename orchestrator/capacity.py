"""What there is to run on, and how many trials fit on it at once."""

from dataclasses import dataclass

import psutil

from orchestrator.errors import SpecError
from orchestrator.provenance import available_cpus, hardware
from orchestrator.spec_sections import TrialResources

# Own memory of a process that imported torch 2.13 (CPU) and ray.tune 2.60 and did nothing yet;
# measured. A trial needs more, so this bounds the number of trials at once from above only.
TRIAL_BASE_BYTES = 345 * 2**20
# Quotients such as 1 / 0.1 may come out just below the whole number.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Resources:
    """What there is to run on, as plain numbers; `memory_bytes` None: not known."""

    cpus: int
    gpus: int = 0
    memory_bytes: int | None = None

    @classmethod
    def here(cls) -> "Resources":
        """What this process may use of this machine."""
        memory = psutil.virtual_memory().available
        return cls(available_cpus(), len(hardware()["gpus"]), memory)


def trials_that_fit(trial: TrialResources, available: Resources) -> int:
    """How many trials can run at once.

    Raises:
        SpecError: Not even one.
    """
    problems = []
    cpus = trial.workers * trial.cpus
    if cpus > available.cpus:
        has = count(available.cpus, "CPU")
        problems.append(
            f"resources.cpus: a trial asks for {count(cpus, 'CPU')}, there are {has}; "
            f"allowed: at most {available.cpus // trial.workers}"
        )
    if trial.workers * trial.gpus > available.gpus:
        has = count(available.gpus, "GPU")
        problems.append(
            f"resources.gpus: a trial asks for {trial.gpus:g} GPU, there are {has}; "
            f"allowed: at most {min(1, available.gpus // trial.workers)}"
        )
    if problems:
        raise SpecError(problems)
    limits = [available.cpus // cpus]
    if trial.gpus:
        # A fraction lies on one GPU: 0.4 fits twice on each, never across two.
        limits.append(int(1 / trial.gpus + _ROUNDING) * available.gpus // trial.workers)
    if available.memory_bytes is not None:
        limits.append(max(1, available.memory_bytes // TRIAL_BASE_BYTES))
    return min(limits)


def count(number: int, what: str) -> str:
    """A number of things in words, e.g. `2 CPUs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"

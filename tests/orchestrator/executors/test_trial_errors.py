"""Why a trial failed where Ray, or the kernel, ended its process."""

from collections.abc import Iterator

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.tune.experiment import Trial

from orchestrator.executors.retries import OUT_OF_MEMORY
from orchestrator.executors.tune_bridge import TrialErrors
from orchestrator.executors.wire import TrialFailedError

KEPT = "; the ends of its logs are in /home/logs"


class Machine:
    """A kernel that kills for memory as often as the test says."""

    kills = 3

    def __call__(self) -> int:
        return self.kills


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def errors(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrialErrors]:
    # It writes into the folder of an experiment.
    monkeypatch.setattr(Trial, "handle_error", lambda *_: None)
    errors = TrialErrors(machine, lambda: KEPT)
    with errors.noted():
        yield errors


def failed(error: Exception | None) -> str:
    trial = Trial("some", stub=True)
    trial.handle_error(error)
    return str(trial.trial_id)


def test_ray_ended_it_for_memory(errors: TrialErrors) -> None:
    said = "1 worker(s) were killed due to the node running low on memory.\nTop memory users: ..."
    cause = errors.cause_of(failed(OutOfMemoryError(said)))
    assert cause.kind == OUT_OF_MEMORY
    assert cause.message.startswith("the trial needs more memory than was left. ")
    assert cause.message.endswith(
        ": killed by Ray for memory (1 worker(s) were killed due to the node running low on "
        "memory.)"
    )


def test_the_kernel_ended_it_for_memory(errors: TrialErrors, machine: Machine) -> None:
    machine.kills += 1
    cause = errors.cause_of(failed(ActorDiedError()))
    assert cause.kind == OUT_OF_MEMORY
    assert cause.message.endswith(": its process was killed by the kernel for memory")
    # One kill explains one death.
    assert errors.cause_of(failed(ActorDiedError())).kind == "ActorDiedError"


def test_a_process_that_went_for_no_known_reason_has_logs(errors: TrialErrors) -> None:
    cause = errors.cause_of(failed(ActorDiedError()))
    assert cause.message == f"The actor died unexpectedly before finishing this task{KEPT}"
    assert errors.cause_of(failed(None)).message == f"Ray does not say why{KEPT}"


def test_what_a_trial_sent_is_taken_as_it_is(errors: TrialErrors, machine: Machine) -> None:
    machine.kills += 1
    sent = TrialFailedError.of(ValueError("too large"))
    cause = errors.cause_of(failed(RayTaskError("run", "a traceback", sent)))
    assert (cause.kind, cause.message) == ("ValueError", "too large")


def test_a_process_of_a_group_is_lost_as_any_other(errors: TrialErrors, machine: Machine) -> None:
    machine.kills += 1
    sent = TrialFailedError.of(ActorDiedError())
    assert errors.cause_of(failed(RayTaskError("step", "", sent))).kind == OUT_OF_MEMORY

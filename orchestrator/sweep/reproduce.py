"""A recorded trial once more: the same settings, data and seed, and whether the same comes out.

Nothing of the sweep is written. One worker without a GPU trains in this process; others on the
kind of host that the sweep used, a Ray of our own or a running cluster.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import ReproductionError
from orchestrator.base.installation import code_version
from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.base.text import command, first_line
from orchestrator.executors.executor import Executor
from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.spec.data import open_data, trial_store
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState
from orchestrator.study.work_record import TrialStart
from orchestrator.sweep.epoch_comparison import (
    TOLERANCE,
    EpochComparison,
    Expectation,
    compare_epoch,
)
from orchestrator.sweep.ready_cluster import ready_cluster
from orchestrator.sweep.recorded_trial import (
    RecordedTrial,
    changes_since,
    read_recorded,
    rounding_reasons,
    with_epochs,
)
from orchestrator.sweep.run import tune_executor
from orchestrator.tracking.lookup import is_run_id, tracked_trial
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import Decision, EpochReport
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.store.staging import CACHE_VARIABLE

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReproduceRequest:
    """What is to be run again.

    Args:
        target: `SWEEP/NUMBER`, or the id of an MLflow run.
        home: Home of the sweep.
        tracking_uri: Where MLflow is; None: in the home.
        epochs: How many of its epochs, from the first on; None: all that were recorded.
        keep: Folder or URI for the trial's files, empty so far; None: they are not kept.
        address: Of a running Ray cluster; None: this machine.
    """

    target: str
    home: Path
    tracking_uri: str | None = None
    epochs: int | None = None
    keep: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Failure:
    """How a trial failed, then and now, class and message; None: it did not."""

    then: str | None
    now: str | None

    @property
    def is_same(self) -> bool:
        """Whether both ended for the same reason; messages may name other folders."""
        kinds = [end.partition(":")[0] if end else None for end in (self.then, self.now)]
        return kinds[0] == kinds[1]


@dataclass(frozen=True)
class Reproduction:
    """What running a trial again came to.

    Args:
        trial: `SWEEP/NUMBER`.
        seed: Its seed.
        data_fingerprint: Fingerprint of its data, which was read through.
        expectation: Whether both runs were to be equal bit for bit, or within the
            tolerance.
        reasons: Why they need not be equal bit for bit, in words; empty: they must.
        changes: What else has changed since: code, packages.
        code: Version of the code, then and now.
        results_version: Version of the numbers, then (None: not known) and now.
        recorded_epochs: Epochs that the sweep has of the trial.
        wanted_epochs: Epochs that were to be compared.
        epochs: Those that were.
        failure: How the trial failed.
        folder: Where the files of this run are; None: they were not kept.
    """

    trial: str
    seed: int
    data_fingerprint: str
    expectation: Expectation
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    code: tuple[str | None, str]
    results_version: tuple[int | None, int]
    recorded_epochs: int
    wanted_epochs: int
    epochs: tuple[EpochComparison, ...]
    failure: Failure
    folder: str | None

    @property
    def is_reproduced(self) -> bool:
        """Whether all epochs came again as they were expected to, and nothing else happened."""
        is_complete = len(self.epochs) == self.wanted_epochs
        return is_complete and self.failure.is_same and self.first_too_far is None

    @property
    def first_too_far(self) -> EpochComparison | None:
        """The first epoch that differs by more than is allowed."""
        return next((epoch for epoch in self.epochs if epoch.too_far), None)

    @property
    def num_equal(self) -> int:
        """Epochs that are equal bit for bit."""
        return sum(not epoch.unequal for epoch in self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: metrics of the first epoch that differs, of the others how many do."""
        first = self.first_too_far
        epochs = [
            {
                "epoch": epoch.epoch,
                "compared": epoch.num_compared,
                "unequal": len(epoch.unequal),
                "too_far": len(epoch.too_far),
            }
            for epoch in self.epochs
        ]
        return {
            "reproduced": self.is_reproduced,
            "equal_epochs": self.num_equal,
            **asdict(self),
            "epochs": epochs,
            "tolerance": asdict(TOLERANCE),
            "first_difference": asdict(first) if first else None,
        }


def reproduce(request: ReproduceRequest, say: Say) -> Reproduction:
    """Run a trial again and compare it with what was recorded.

    Args:
        request: The trial.
        say: Takes a line about what happens.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
        ReproductionError: There is no such trial, it has nothing to compare, or it cannot be run
            in this way.
        SettingsError: This version cannot build its settings.
        DataError: The data is missing, damaged, or not what the trial was trained on.
        SpecError: It does not fit on this machine.
    """
    recorded = read_recorded(request.home, *_target(request))
    epochs = _wanted_epochs(recorded, request.epochs)
    store = _same_data(recorded, request.home, say)
    reasons, changes = rounding_reasons(recorded), changes_since(recorded)
    with _folder(request) as folder:
        again = _Again(recorded, _request(recorded, store, folder, epochs), reasons, say)
        with Interruption().listening() as interruption:
            _executor(recorded, request, store, folder, say).run(again, 1, interruption)
    return Reproduction(
        trial=recorded.name,
        seed=recorded.settings.training.seed,
        data_fingerprint=recorded.data_fingerprint,
        expectation=again.expectation,
        reasons=reasons,
        changes=changes,
        code=(recorded.code, code_version()),
        results_version=(recorded.results_version, RESULTS_VERSION),
        recorded_epochs=len(recorded.rows),
        wanted_epochs=min(epochs, len(recorded.rows)),
        epochs=tuple(again.compared),
        failure=again.failure(),
        folder=request.keep,
    )


def _target(request: ReproduceRequest) -> tuple[str, int]:
    """The sweep and the number that are meant."""
    sweep, _, number = request.target.rpartition("/")
    if sweep and number.isascii() and number.isdigit():
        return sweep, int(number)
    if not is_run_id(request.target):
        status = command("status", "SWEEP", home=request.home, json=True)
        raise ReproductionError(
            f"found {request.target!r}; allowed: SWEEP/NUMBER, as `{status}` numbers trials, or "
            "the id of an MLflow run"
        )
    store = TrackingStore.of(request.tracking_uri, request.home)
    trial = tracked_trial(store, request.target)
    study = StudyReader.open(study_url(request.home), trial.sweep)
    if study.attributes.get("outbox_id") != trial.sweep_id:
        raise ReproductionError(
            f"run {request.target} is of another sweep called {trial.sweep!r} than the one in "
            f"{request.home}; name its home with --home"
        )
    return trial.sweep, trial.number


def _wanted_epochs(recorded: RecordedTrial, asked: int | None) -> int:
    """Epochs to train: those recorded, and the one that a failed trial failed in."""
    rows, has_failed = len(recorded.rows), recorded.summary.state is TrialState.FAILED
    if not rows and not has_failed:
        raise ReproductionError(f"trial {recorded.name} has not completed an epoch yet")
    is_short = rows < recorded.settings.training.epochs
    whole = rows + 1 if has_failed and is_short else rows
    if asked is not None and asked > whole:
        raise ReproductionError(
            f"--epochs {asked}: trial {recorded.name} has {rows}; allowed: at most {whole}"
        )
    return asked or whole


def _same_data(recorded: RecordedTrial, home: Path, say: Say) -> "FeatureStore":
    """The trial's data, read through: a changed byte would look like a change of the numbers."""
    from prvr_model.errors import StoreError

    store = open_data(recorded.spec.data, home, say, recorded.data_fingerprint)
    found, wanted = store.manifest.fingerprint, recorded.data_fingerprint
    if found != wanted:
        raise StoreError(
            f"{store.path} is not the data that trial {recorded.name} was trained on: its "
            f"fingerprint is {found[:12]}, not {wanted[:12]}; put that data there again"
        )
    store.verify()
    return store


@contextmanager
def _folder(request: ReproduceRequest) -> Iterator[str]:
    """Where the trial's files go, for as long as they are needed."""
    if request.keep is None:
        if request.address is not None:
            raise ReproductionError(
                "--address needs --keep with a folder or URI that all nodes of the cluster see"
            )
        with tempfile.TemporaryDirectory(prefix="prvr-again-") as folder:
            yield folder
        return
    from prvr_model.files.checkpoint_header import LAST
    from prvr_model.files.folder import Folder

    if Folder.open(request.keep).exists(LAST):
        raise ReproductionError(
            f"--keep {request.keep}: holds a trial, which this one would continue; allowed: an "
            "empty folder"
        )
    yield request.keep


def _request(
    recorded: RecordedTrial, store: "FeatureStore", folder: str, epochs: int
) -> TrialRequest:
    sizes = recorded.micro_batch_sizes
    # The micro-batches that the trial ended with.
    ended_with = {"micro_batch_videos": sizes[-1]} if sizes else {}
    return TrialRequest(
        sweep=recorded.sweep,
        number=recorded.summary.number,
        key=recorded.summary.key,
        parameters=recorded.summary.parameters,
        settings=with_epochs(recorded.settings, epochs),
        speed=recorded.spec.speed.model_copy(update=ended_with),
        store=trial_store(recorded.spec.data, store),
        data_fingerprint=recorded.data_fingerprint,
        folder=folder,
        cache=os.environ.get(CACHE_VARIABLE),
    )


def _executor(
    recorded: RecordedTrial,
    request: ReproduceRequest,
    store: "FeatureStore",
    folder: str,
    say: Say,
) -> Executor:
    spec, address = recorded.spec, recorded.address
    if request.address is not None:
        cluster = ready_cluster(request.address, spec, store, folder, say)
        return tune_executor(spec, TRAIN_TRIAL, cluster)
    if spec.resources.workers == 1 and not spec.resources.gpus:
        return InlineExecutor()
    if address is not None:
        say(f"the sweep ran on the cluster at {address}, this runs here; --address names a cluster")
    return tune_executor(spec, TRAIN_TRIAL, None)


class _Again:
    """The `TrialSource` of one trial, which compares each epoch as it comes."""

    def __init__(
        self, recorded: RecordedTrial, request: TrialRequest, reasons: Sequence[str], say: Say
    ) -> None:
        self._recorded = recorded
        self._request: TrialRequest | None = request
        self._epochs = request.settings.training.epochs
        self._say = say
        self._then = {row.epoch: row for row in recorded.rows}
        self._cause: FailureCause | None = None
        self.expectation: Expectation = "close" if reasons else "equal"
        self.compared: list[EpochComparison] = []

    def next_trial(self) -> TrialRequest | None:
        """The trial, once."""
        request, self._request = self._request, None
        return request

    def on_start(self, number: int, start: TrialStart) -> None:
        """It begins."""

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """Compare an epoch."""
        then, is_new = self._then.get(report.epoch), report.epoch > len(self.compared)
        if then is not None and is_new:
            found = compare_epoch(then, report, self.expectation)
            self.compared.append(found)
            differs = "differs" if found.too_far else "within the tolerance"
            word = differs if found.unequal else "equal"
            self._say(f"epoch {report.epoch} of {self._epochs}: {word}")
        return Decision.STOP if report.epoch >= self._epochs else Decision.CONTINUE

    def on_end(self, number: int) -> None:
        """It ran to its end."""

    def on_move(self, number: int, cause: FailureCause) -> None:
        """It continues elsewhere, and its rows come again."""

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """It failed, perhaps as it did then."""
        self._cause = cause

    def on_wait(self, message: str) -> None:
        """It waits for a slot."""
        self._say(message)

    def failure(self) -> Failure:
        """How it failed; then is left out where this run was not to come so far."""
        reaches_end = self._epochs > len(self._recorded.rows) or not self._recorded.rows
        return Failure(
            _line(self._recorded.summary.cause) if reaches_end else None, _line(self._cause)
        )


def _line(cause: FailureCause | None) -> str | None:
    return f"{cause.kind}: {first_line(cause.message)}" if cause else None

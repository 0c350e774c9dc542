"""A recorded trial once more: the same settings, data and seed, and whether the same comes out.

Nothing of the sweep is written. One worker without a GPU trains in this process; others on the
kind of host that the sweep used, a Ray of our own or a running cluster.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import ReproductionError
from orchestrator.base.machine import code_version, hardware, package_versions
from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.executors.executor import Executor
from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.spec.data import open_data, trial_store
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState
from orchestrator.sweep.epoch_comparison import (
    TOLERANCE,
    EpochComparison,
    Expectation,
    compare_epoch,
    machine_differences,
    package_differences,
)
from orchestrator.sweep.ready_cluster import ready_cluster
from orchestrator.sweep.recorded_trial import RecordedTrial, read_recorded, with_epochs
from orchestrator.sweep.run import tune_executor
from orchestrator.tracking.lookup import is_run_id, tracked_trial
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import Decision, EpochReport
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import SpeedSettings
from prvr_model.store.staging import CACHE_VARIABLE

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

_NUMERIC_PACKAGES = ("torch", "numpy")
"""What computes a trial's numbers; other packages carry them."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReproduceRequest:
    """What is to be run again.

    Args:
        target: `SWEEP/NUMBER`, or the id of an MLflow run.
        home: Home of the sweep.
        tracking_uri: Where MLflow is; None: in the home.
        epochs: The first so many epochs; None: all that were recorded.
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
        changes: What else is another than then: code, packages.
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
        fields = asdict(self)
        fields["epochs"] = [
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
            **fields,
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
    sweep, number = _target(request)
    recorded = read_recorded(request.home, sweep, number)
    epochs = _wanted_epochs(recorded, request.epochs)
    store = _same_data(recorded, request.home, say)
    expectation, reasons = _expected(recorded)
    for line in _differences(recorded):
        say(f"then and now: {line}")
    with _folder(request) as folder:
        again = _Again(recorded, _request(recorded, store, folder, epochs), expectation, say)
        with Interruption().listening() as interruption:
            _executor(recorded, request, store, folder, say).run(again, 1, interruption)
        return Reproduction(
            trial=recorded.name,
            seed=recorded.settings.training.seed,
            data_fingerprint=recorded.data_fingerprint,
            expectation=expectation,
            reasons=reasons,
            changes=_differences(recorded),
            code=(recorded.code, code_version()),
            results_version=(recorded.results_version, RESULTS_VERSION),
            recorded_epochs=len(recorded.rows),
            wanted_epochs=min(epochs, len(recorded.rows)),
            epochs=tuple(again.compared),
            failure=again.failure(),
            folder=folder if request.keep else None,
        )


def _target(request: ReproduceRequest) -> tuple[str, int]:
    """The sweep and the number that are meant."""
    sweep, _, number = request.target.rpartition("/")
    if sweep and number.isascii() and number.isdigit():
        return sweep, int(number)
    if not is_run_id(request.target):
        raise ReproductionError(
            f"found {request.target!r}; allowed: SWEEP/NUMBER, as `prvr-sweep status SWEEP --json` "
            "numbers trials, or the id of an MLflow run"
        )
    store = TrackingStore.of(request.tracking_uri, request.home)
    trial = tracked_trial(store, request.target)
    there = StudyReader.open(study_url(request.home), trial.sweep)
    if there.attributes.get("outbox_id") != trial.sweep_id:
        raise ReproductionError(
            f"run {request.target} is of another sweep called {trial.sweep!r} than the one in "
            f"{request.home}; name its home with --home"
        )
    return trial.sweep, trial.number


def _wanted_epochs(recorded: RecordedTrial, asked: int | None) -> int:
    """Epochs to train: those recorded, and the one that a failed trial failed in."""
    rows, state = len(recorded.rows), recorded.summary.state
    if not rows and state is not TrialState.FAILED:
        raise ReproductionError(f"trial {recorded.name} has not completed an epoch yet")
    most = recorded.settings.training.epochs
    whole = min(rows + 1, max(most, rows)) if state is TrialState.FAILED else rows
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
            f"fingerprint is {found[:12]}, not {wanted[:12]}; bring that data back to this place"
        )
    store.verify()
    return store


def _expected(recorded: RecordedTrial) -> tuple[Expectation, tuple[str, ...]]:
    """Whether the numbers must be equal in every bit, and if not, why."""
    device = recorded.spec.speed.device.partition(":")[0]
    reasons = [
        *machine_differences(recorded.hardware, hardware(), uses_gpu=device == "cuda"),
        *package_differences(recorded.packages, package_versions(), _NUMERIC_PACKAGES),
        *([] if device == "cpu" else [f"{device} adds up in no fixed order"]),
    ]
    if len(recorded.micro_batch_sizes) > 1:
        reasons.append("it ran out of memory and went on with smaller micro-batches")
    if len(set(recorded.summary.workers)) > 1:
        reasons.append("its number of workers changed, and each draws its own dropout")
    if recorded.results_version is None:
        reasons.append("no known version of the settings gives its key: defaults have changed")
    elif recorded.results_version != RESULTS_VERSION:
        then = recorded.results_version
        reasons.append(f"numbers of version {RESULTS_VERSION}, then of version {then}")
    return ("close" if reasons else "equal"), tuple(reasons)


def _differences(recorded: RecordedTrial) -> tuple[str, ...]:
    """What is another than then, whether it should matter or not."""
    code = code_version()
    changed = [] if code == recorded.code else [f"code {code}, then {recorded.code or 'unknown'}"]
    if any((version or "").endswith(".dirty") for version in (code, recorded.code)):
        changed.append("a checkout with changes that are in no commit (.dirty) says not which")
    return (*changed, *package_differences(recorded.packages, package_versions()))


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
            f"--keep {request.keep}: has a trial already, which would be gone on with; allowed: "
            "an empty folder"
        )
    yield request.keep


def _request(
    recorded: RecordedTrial, store: "FeatureStore", folder: str, epochs: int
) -> TrialRequest:
    return TrialRequest(
        sweep=recorded.sweep,
        number=recorded.summary.number,
        key=recorded.summary.key,
        parameters=recorded.summary.parameters,
        settings=with_epochs(recorded.settings, epochs),
        speed=_speed(recorded),
        store=trial_store(recorded.spec.data, store),
        data_fingerprint=recorded.data_fingerprint,
        folder=folder,
        cache=os.environ.get(CACHE_VARIABLE),
    )


def _speed(recorded: RecordedTrial) -> SpeedSettings:
    """The sweep's, with the micro-batches that the trial ended with."""
    sizes = recorded.micro_batch_sizes
    return recorded.spec.speed.model_copy(update={"micro_batch_videos": sizes[-1]} if sizes else {})


def _executor(
    recorded: RecordedTrial,
    request: ReproduceRequest,
    store: "FeatureStore",
    folder: str,
    say: Say,
) -> Executor:
    spec = recorded.spec
    if request.address is not None:
        cluster = ready_cluster(request.address, spec, store, folder, say)
        return tune_executor(spec, TRAIN_TRIAL, cluster)
    if spec.resources.workers == 1 and not spec.resources.gpus:
        return InlineExecutor()
    if there := recorded.places.get("address"):
        say(f"the sweep ran on the cluster at {there}, this runs here; --address names a cluster")
    return tune_executor(spec, TRAIN_TRIAL, None)


class _Again:
    """The `TrialSource` of one trial, which compares each epoch as it comes."""

    def __init__(
        self, recorded: RecordedTrial, request: TrialRequest, expectation: Expectation, say: Say
    ) -> None:
        self._recorded = recorded
        self._request: TrialRequest | None = request
        self._epochs = request.settings.training.epochs
        self._expectation = expectation
        self._say = say
        self._then = {row.epoch: row for row in recorded.rows}
        self._cause: FailureCause | None = None
        self.compared: list[EpochComparison] = []

    def next_trial(self) -> TrialRequest | None:
        """The trial, once."""
        request, self._request = self._request, None
        return request

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """Compare an epoch."""
        is_new = report.epoch > len(self.compared)
        if report.epoch in self._then and is_new:
            self.compared.append(self._compare(report))
            self._say(f"epoch {report.epoch} of {self._epochs}: {self._word()}")
        return Decision.STOP if report.epoch >= self._epochs else Decision.CONTINUE

    def _compare(self, report: EpochReport) -> EpochComparison:
        then = self._then[report.epoch]
        # Of a row that is lost the study still has its one number.
        is_whole = len(then.metrics) > 1
        return compare_epoch(then, report, self._expectation, is_whole=is_whole)

    def _word(self) -> str:
        last = self.compared[-1]
        if not last.unequal:
            return "equal"
        return "differs" if last.too_far else "within the tolerance"

    def on_end(self, number: int) -> None:
        """It ran to its end."""

    def on_move(self, number: int, cause: FailureCause) -> None:
        """It goes on elsewhere, and its rows come again."""

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """It failed, perhaps as it did then."""
        self._cause = cause

    def on_wait(self, message: str) -> None:
        """It waits for a place."""
        self._say(message)

    def failure(self) -> Failure:
        """How it failed; then is left out where this run was not to come so far."""
        cause = self._recorded.summary.cause
        reaches_end = self._epochs > len(self._recorded.rows) or not self._recorded.rows
        return Failure(_line(cause) if reaches_end else None, _line(self._cause))


def _line(cause: FailureCause | None) -> str | None:
    return f"{cause.kind}: {cause.message.partition(chr(10))[0]}" if cause else None

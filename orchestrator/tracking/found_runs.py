"""Finds a sweep's runs in MLflow, restores deleted ones, and says what others lack.

Runs are looked up by tag, since MLflow takes no run id of ours. One search gives everything that
is compared, page by page: a check of a whole sweep costs a few calls. Imports MLflow.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException

from orchestrator.base.errors import TrackingError
from orchestrator.base.text import count
from orchestrator.tracking.paging import all_pages
from orchestrator.tracking.run_change import RunChange
from orchestrator.tracking.store import may_write
from orchestrator.tracking.tags import PARENT_TAG, SWEEP_ID_TAG, TRIAL_TAG

LONGEST_TAG = 8000
NOT_FOUND = 404

# MLflow makes hundreds of objects of each run.
_RUNS_PER_PAGE = 200
_BAD_REQUEST = 400
_MOST_NAMED = 10
_EXPERIMENT_TAGS = {
    # The experiment's purpose in MLflow's vocabulary; else its UI guesses. (Which view 3.17 opens
    # depends on the address alone, see `ui.page_addresses`.)
    "mlflow.experimentKind": "custom_model_development",
}
_SOURCE_TAGS = {"mlflow.source.name": "prvr-sweep", "mlflow.source.type": "LOCAL"}


@dataclass(frozen=True)
class FoundRun:
    """What a look-up keeps of a run, of which a sweep has thousands.

    Args:
        run_id: Its id in MLflow.
        trial: Its trial; None: the sweep's own run.
        parent: Id of the run that it names as its parent.
        is_active: Whether it is not deleted.
        status: Its status.
        artifact_uri: Where its files are.
        params: Names of its parameters.
        tags: Names of its tags.
        steps: Names of its metrics by the last step of each.
    """

    run_id: str
    trial: int | None
    parent: str | None
    is_active: bool
    status: str
    artifact_uri: str
    params: frozenset[str]
    tags: frozenset[str]
    steps: Mapping[int, frozenset[str]]

    @classmethod
    def of(cls, run: Run) -> "FoundRun":
        """What is kept of a run."""
        steps: defaultdict[int, list[str]] = defaultdict(list)
        for metric in run.data._metric_objs:
            steps[metric.step].append(metric.key)
        return cls(
            run.info.run_id,
            _trial_of(run),
            run.data.tags.get(PARENT_TAG),
            _is_active(run),
            run.info.status,
            run.info.artifact_uri,
            _names(frozenset(run.data.params)),
            _names(frozenset(run.data.tags)),
            {step: _names(frozenset(keys)) for step, keys in steps.items()},
        )

    def lacks_rows(self, change: RunChange) -> bool:
        """Whether a metric's last step is before one of a change."""
        last = {key: step for step, keys in sorted(self.steps.items()) for key in keys}
        return any(row.step > last.get(row.key, -1) for row in change.metrics)


@lru_cache(maxsize=1024)
def _names(names: frozenset[str]) -> frozenset[str]:
    """One object for the same names: most runs of a sweep have the same."""
    return names


class SweepRuns:
    """The runs of one sweep in one experiment.

    Args:
        client: Client of the store.
        artifact_root: Parent of a new experiment's folder for files; None leaves it to the server.
        experiment: Name of the experiment.
        sweep_id: Identity of the sweep among others of its name.
        tell: Takes a line about what is restored.
    """

    def __init__(
        self,
        client: MlflowClient,
        artifact_root: str | None,
        experiment: str,
        sweep_id: str,
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._artifact_root = artifact_root
        self._experiment = experiment
        self._sweep_id = sweep_id
        self._experiment_id: str | None = None
        self._runs: dict[int | None, FoundRun] = {}
        self._ids: dict[int | None, str] = {}
        self._tell = tell
        self.is_looked_up = False

    @property
    def is_known(self) -> bool:
        """Whether the store has any run of the sweep."""
        return bool(self._ids)

    def look_up(self) -> None:
        """Find the sweep's runs; deleted ones are restored, missing ones are not created.

        Raises:
            TrackingError: The experiment was deleted before it had a run of this sweep.
        """
        self.is_looked_up = True
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return
        self._experiment_id = str(experiment.experiment_id)
        runs = list(self._search(self._experiment_id))
        if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            self._restore_experiment(runs)
            runs = list(self._search(self._experiment_id))
        # Of several runs of one trial an active one, then the one with most parameters.
        runs.sort(key=lambda run: (not run.is_active, -len(run.params)))
        for run in runs:
            self._runs.setdefault(run.trial, run)
        self._ids = {trial: run.run_id for trial, run in self._runs.items()}
        self._restore([trial for trial, run in self._runs.items() if not run.is_active])

    def id_of(self, change: RunChange) -> str:
        """Id of a change's run, which is created if it is missing; the sweep's own comes first."""
        trial = change.run.trial
        if trial not in self._ids:
            self._ids[trial] = self._create(change)
        return self._ids[trial]

    def is_missing(self, change: RunChange) -> bool:
        """Whether a change's run is not in the store."""
        return change.run.trial not in self._ids

    def lacks(self, change: RunChange) -> bool:
        """Whether a run, as it was looked up, lacks something of a change.

        Of each metric the last step counts; of files those of the sweep's own run, which cost a
        call. Values of parameters and tags are the user's to edit.
        """
        run = self._runs[change.run.trial]
        return (
            not change.params.keys() <= run.params
            or not change.tags.keys() <= run.tags
            or run.lacks_rows(change)
            or change.status not in (None, run.status)
            or (change.run.trial is None and self._lacks_files(run, change))
        )

    def _lacks_files(self, run: FoundRun, change: RunChange) -> bool:
        if not self.takes_files(run.artifact_uri):
            return False
        there = {file.path for file in self._client.list_artifacts(run.run_id)}
        return not change.texts.keys() <= there

    def takes_files(self, artifact_uri: str) -> bool:
        """Whether a run's files may be written: not where a home was before it was moved."""
        return may_write(artifact_uri, self._artifact_root)

    def adopt(self) -> None:
        """Make the sweep's own run the parent of all others, and forget what was looked up."""
        own = self._ids.get(None)
        strays = [
            run.run_id
            for trial, run in self._runs.items()
            if trial is not None and run.parent != own
        ]
        self._runs.clear()
        for run_id in strays:
            self._client.set_tag(run_id, PARENT_TAG, own)
        if strays:
            runs = count(len(strays), "run")
            self._tell(f"MLflow: {runs} named a parent that is not there; now the sweep's run")

    def were_deleted(self, error: MlflowException, trial: int | None) -> bool:
        """Whether an error is due to the deletion of a trial's run or of the sweep's own."""
        if error.get_http_status_code() not in (_BAD_REQUEST, NOT_FOUND):
            return False
        ids = {self._ids[key] for key in (None, trial) if key in self._ids}
        return not all(self.is_there(run_id) for run_id in ids)

    def is_there(self, run_id: str) -> bool:
        """Whether a run is in the store now and not deleted."""
        try:
            return _is_active(self._client.get_run(run_id))
        except MlflowException as error:
            if error.get_http_status_code() != NOT_FOUND:
                raise
            return False

    def _search(self, experiment_id: str) -> Iterator[FoundRun]:
        found = all_pages(
            self._client.search_runs,
            experiment_ids=[experiment_id],
            filter_string=f"tags.`{SWEEP_ID_TAG}` = '{self._sweep_id}'",
            run_view_type=ViewType.ALL,
            max_results=_RUNS_PER_PAGE,
        )
        return map(FoundRun.of, found)

    def _restore_experiment(self, runs: Sequence[FoundRun]) -> None:
        if not runs:
            raise TrackingError(
                f"the MLflow experiment {self._experiment!r} was deleted; restore it with `mlflow "
                f"experiments restore -x {self._experiment_id}`, or remove it for good with "
                "`mlflow gc`"
            )
        self._client.restore_experiment(self._experiment_id)
        self._tell(f"MLflow: the experiment {self._experiment} was deleted; restored")

    def _restore(self, trials: Sequence[int | None]) -> None:
        for trial in trials:
            self._client.restore_run(self._ids[trial])
        if trials:
            self._tell(f"MLflow: {named_runs(trials)} deleted; restored")

    def _create(self, change: RunChange) -> str:
        if self._experiment_id is None:
            self._experiment_id = create_experiment(
                self._client, self._experiment, self._artifact_root
            )
        tags = {**_SOURCE_TAGS, **change.tags, SWEEP_ID_TAG: self._sweep_id}
        if change.run.trial is not None:
            tags[PARENT_TAG] = self._ids[None]
            tags[TRIAL_TAG] = str(change.run.trial)
        short = {key: value[:LONGEST_TAG] for key, value in tags.items()}
        run = self._client.create_run(
            self._experiment_id, change.run.start_ms, short, change.run.name
        )
        return str(run.info.run_id)


def create_experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    """Create an experiment, its files below the root, by default where the server puts them."""
    location = f"{artifact_root.rstrip('/')}/{name}" if artifact_root else None
    return str(client.create_experiment(name, location, dict(_EXPERIMENT_TAGS)))


def _is_active(run: Run) -> bool:
    return bool(run.info.lifecycle_stage == LifecycleStage.ACTIVE)


def _trial_of(run: Run) -> int | None:
    trial = run.data.tags.get(TRIAL_TAG)
    return None if trial is None else int(trial)


def named_runs(trials: Sequence[int | None]) -> str:
    """Runs in words up to their verb, e.g. `the runs of the sweep and of trials 2, 5 were`."""
    numbers = sorted(trial for trial in trials if trial is not None)
    listed = ", ".join(map(str, numbers[:_MOST_NAMED]))
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    of_trials = [f"of trial{'s' if len(numbers) > 1 else ''} {listed}{more}"] if numbers else []
    owners = [*(["of the sweep"] if None in trials else []), *of_trials]
    runs, verb = ("runs", "were") if len(trials) > 1 else ("run", "was")
    return f"the {runs} {' and '.join(owners)} {verb}"

"""Writes a sweep's runs to MLflow so that writing them again changes nothing.

Imports MLflow, which takes seconds: `mlflow_sender` imports this module only when it is called.
Only `MlflowClient` is used: the fluent functions keep the tracking URI and the active run in
globals that belong to the user.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.base.errors import TrackingOutageError
from orchestrator.base.sqlite_files import make_whole, what_is_torn
from orchestrator.base.text import first_line
from orchestrator.tracking.database_faults import damaged_advice
from orchestrator.tracking.found_runs import LONGEST_TAG, NOT_FOUND, SweepRuns, named_runs
from orchestrator.tracking.paging import all_pages
from orchestrator.tracking.run_change import DataRecord, RunChange, RunIdentity, RunsDeletedError
from orchestrator.tracking.store import TrackingStore, experiment_name
from orchestrator.tracking.tags import SWEEP_TAG

# Limits of one `log_batch`, checked by MLflow's `utils.validation`.
ENTITIES_PER_CALL = 1000
PARAMS_PER_CALL = 100
TAGS_PER_CALL = 100
_LONGEST_PARAM = 6000
_LONGEST_DIGEST = 36

_BAD_REQUEST = 400


def connect(store: TrackingStore) -> MlflowClient:
    """Client of a store's runs and models; a missing SQLite file is created.

    Raises:
        TrackingOutageError: The file cannot be made, or is truncated.
        SQLAlchemyError: The database server refuses.
        ImportError: Its driver is missing.
    """
    try:
        _make_database(store)
    except (OSError, SQLAlchemyError) as error:
        raise TrackingOutageError(f"cannot make {store.shown}: {first_line(str(error))}") from error
    if store.database is None and not store.is_server:
        # MLflow would try for minutes, and tell each time.
        create_engine(store.uri, poolclass=NullPool).connect().close()
    return MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)


def _make_database(store: TrackingStore) -> None:
    path = store.database
    if path is None:
        return
    # MLflow makes its tables in an empty file as in a new one.
    is_empty = path.exists() and not path.stat().st_size
    if not is_empty and (lacks := what_is_torn(path)):
        raise TrackingOutageError(f"{path}: {lacks}; {damaged_advice(store.uri)}")
    make_whole(path, lambda url: SqlAlchemyStore(url, store.artifact_root).engine.dispose())


class MlflowWriter:
    """The runs of one sweep in one experiment.

    Runs are looked up by tag before they are created, since MLflow takes no run id of ours.

    Args:
        client: Client of the store.
        artifact_root: Parent of a new experiment's folder for files; None leaves it to the server.
        experiment: Name of the experiment.
        sweep_id: Identity of the sweep among others of its name.
        refuse: Takes a line about each change that MLflow refuses for good.
        tell: Takes a line about each kind of thing that was deleted or missing, and is there again.
    """

    def __init__(
        self,
        client: MlflowClient,
        artifact_root: str | None,
        experiment: str,
        sweep_id: str,
        refuse: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._runs = SweepRuns(client, artifact_root, experiment, sweep_id, tell)
        self._refuse = refuse
        self._tell = tell
        self._missing: set[int | None] = set()
        self._incomplete: set[int | None] = set()

    def knows_sweep(self) -> bool:
        """Whether the store has runs of the sweep; those that were deleted are restored."""
        self._runs.look_up()
        return self._runs.is_known

    def lacking(self, changes: Sequence[RunChange]) -> Sequence[int | None]:
        """Trials whose runs lack something of changes written before; None: the sweep's own run.

        Args:
            changes: Changes of runs; of each metric the last row counts.
        """
        missing = [change.run.trial for change in changes if self._runs.is_missing(change)]
        there = [change for change in changes if not self._runs.is_missing(change)]
        incomplete = [change.run.trial for change in there if self._runs.lacks(change)]
        self._missing.update(missing)
        self._incomplete.update(incomplete)
        return [*missing, *incomplete]

    def mended(self) -> None:
        """Say what was written again, and make the sweep's own run the parent of all others."""
        for trials, found, done in (
            (self._missing, "gone", "made again"),
            (self._incomplete, "lacking parameters, metrics or files", "sent again"),
        ):
            if trials:
                self._tell(f"MLflow: {named_runs(list(trials))} {found}; {done}")
                trials.clear()
        self._runs.adopt()

    def write(self, changes: Sequence[RunChange], parent: RunIdentity) -> None:
        """Bring runs up to date; missing runs are created.

        Args:
            changes: What to add; may have been added before.
            parent: The sweep's own run.

        Raises:
            MlflowException: The store cannot be reached; the changes must be written again.
            RunsDeletedError: A run was deleted since it was looked up; the same with a new writer.
        """
        if not self._runs.is_looked_up:
            self._runs.look_up()
        own = [change for change in changes if change.run.trial is None]
        first = own[0] if own else RunChange(parent, tags={SWEEP_TAG: parent.name})
        with self._noticing_deletion(first):
            self._runs.id_of(first)
        for change in changes:
            with self._noticing_deletion(change):
                is_new = self._runs.is_missing(change)
                self._write_run(self._runs.id_of(change), change, is_new=is_new)

    @contextmanager
    def _noticing_deletion(self, change: RunChange) -> Iterator[None]:
        trial = change.run.trial
        try:
            yield
        except MlflowException as error:
            if not self._runs.were_deleted(error, trial):
                raise
            raise RunsDeletedError(f"{named_runs([trial])} deleted") from error

    def _write_run(self, run_id: str, change: RunChange, *, is_new: bool) -> None:
        """Write a change; a new run was created with its tags and name, and runs."""
        params, changed = self._new_params(run_id, change.params, is_new=is_new)
        name = {MLFLOW_RUN_NAME: change.run.name} if change.renamed else {}
        tags = changed if is_new else {**change.tags, **changed, **name}
        self._log(
            run_id,
            [Metric(m.key, m.value, m.timestamp_ms, m.step) for m in change.metrics],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()],
        )
        if change.texts and self._runs.takes_files(self._client.get_run(run_id).info.artifact_uri):
            for file, text in change.texts.items():
                self._client.log_text(run_id, text, file)
        if change.data is not None:
            self._log_data(run_id, change.data)
        if change.models:
            self._link_models(run_id, change.models)
        if change.end_ms is not None:
            self._client.set_terminated(run_id, change.status, change.end_ms)
        elif change.status is not None and not (is_new and change.status == "RUNNING"):
            self._client.update_run(run_id, change.status)

    def _new_params(
        self, run_id: str, params: Mapping[str, str], *, is_new: bool
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Parameters that a run lacks, and tags that show those with another value."""
        # MLflow refuses a whole call if one value differs from what the run has; a sweep that was
        # resumed with more trials has such values, and shows the new ones as tags.
        there = self._client.get_run(run_id).data.params if params and not is_new else {}
        cut = {key: value[:_LONGEST_PARAM] for key, value in params.items()}
        new = {key: value for key, value in cut.items() if key not in there}
        changed = {
            f"prvr.changed.{key}": value
            for key, value in cut.items()
            if there.get(key, value) != value
        }
        return new, changed

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        """Log in as few calls as MLflow's limits allow: a call costs as much as dozens of rows."""
        while metrics or params or tags:
            some_params, params = params[:PARAMS_PER_CALL], params[PARAMS_PER_CALL:]
            some_tags, tags = tags[:TAGS_PER_CALL], tags[TAGS_PER_CALL:]
            room = ENTITIES_PER_CALL - len(some_params) - len(some_tags)
            some_metrics, metrics = metrics[:room], metrics[room:]
            self._log_call(run_id, some_metrics, some_params, some_tags)

    def _log_call(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        try:
            self._client.log_batch(run_id, metrics, params, tags, synchronous=True)
        except MlflowException as error:
            if error.get_http_status_code() != _BAD_REQUEST or not self._runs.is_there(run_id):
                raise
            kinds = [(metrics, (), ()), ((), params, ()), ((), (), tags)]
            kinds = [kind for kind in kinds if any(kind)]
            if len(kinds) == 1:
                self._refuse(first_line(str(error)))
                return
            # What MLflow refuses must not take with it what it accepts.
            for kind in kinds:
                self._log_call(run_id, *kind)

    def _log_data(self, run_id: str, data: DataRecord) -> None:
        # MLflow identifies a data set by name and digest, and records each once.
        with self._refusing(run_id, _BAD_REQUEST, NOT_FOUND):
            self._client.log_inputs(run_id, [dataset_input(data, "training")])

    def _link_models(self, run_id: str, models: Mapping[str, int]) -> None:
        """Log models as outputs of a run, each once, if this MLflow has them."""
        with self._refusing(run_id, _BAD_REQUEST, NOT_FOUND):
            there = self._client.get_run(run_id).outputs
            known = {output.model_id for output in there.model_outputs} if there else set()
            new = [
                LoggedModelOutput(model_id, epoch)
                for model_id, epoch in models.items()
                # Another store, or a new one after a loss, lacks the models of the first.
                if model_id not in known and found_model(self._client, model_id)
            ]
            if new:
                self._client.log_outputs(run_id, new)

    @contextmanager
    def _refusing(self, run_id: str, *codes: int) -> Iterator[None]:
        """Record errors of these HTTP codes as refusals, unless the run was deleted.

        MLflow would refuse a malformed row every time, and it must not keep all others waiting.
        """
        try:
            yield
        except MlflowException as error:
            if error.get_http_status_code() not in codes or not self._runs.is_there(run_id):
                raise
            self._refuse(first_line(str(error)))


def dataset_input(data: DataRecord, context: str) -> DatasetInput:
    """A data set as MLflow lists it at a run, and what the run used it for."""
    source_type, source = _source(data)
    about = json.dumps({"fingerprint": data.fingerprint})
    digest = data.fingerprint[:_LONGEST_DIGEST]
    dataset = Dataset(data.name, digest, source_type, json.dumps(source), profile=about)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _source(data: DataRecord) -> tuple[str, dict[str, Any]]:
    """Type and fields of a data set's source, as `mlflow.data` reads them."""
    if data.generated is not None:
        return "code", {"tags": {"generator": "prvr-sweep", **data.generated}}
    scheme = urlsplit(data.source).scheme
    return ("local" if scheme in ("", "file") else scheme), {"uri": data.source}


def found_model(client: MlflowClient, model_id: str) -> LoggedModel | None:
    """A logged model; None if the store does not have it, or it was deleted."""
    try:
        return client.get_logged_model(model_id)
    except MlflowException as error:
        if error.get_http_status_code() != NOT_FOUND:
            raise
    return None


def experiment_ids(client: MlflowClient) -> dict[str, str]:
    """Experiments of our data sets by name."""
    wanted = f"name LIKE '{experiment_name('')}%'"
    found = all_pages(client.search_experiments, filter_string=wanted)
    return {experiment.name: experiment.experiment_id for experiment in found}

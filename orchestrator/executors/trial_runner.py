"""Runs one trial, in whatever process: from the request to the train loop.

What a trial needs is imported when it runs: the driver sends requests and loads no torch.

`is_leaving` says whether this process must leave its node. It is a flag of the process: the thread
that watches the node knows Ray; the train loop, which asks at every step, does not.

`local_request` brings the data to the machine that runs the trial. A path is used as it is. A store
at a URI is copied from there, and one that the sweep's driver sent is put together from its pieces;
both go to the machine's cache, see `prvr_model.store.staging`.
"""

import importlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.base.errors import NodeLeavingError
from orchestrator.base.stopwatch import importing
from orchestrator.executors.executor import TrialFunction
from orchestrator.study.trial import TrialRequest
from prvr_model.reporting import Report

if TYPE_CHECKING:
    from prvr_model.store.sources import StoreFiles

if TYPE_CHECKING:
    from prvr_model.process_group import Workers

WorkerFunction: TypeAlias = Callable[[TrialRequest, Report, "Workers"], None]
"""Runs one trial in each of its workers; the first one reports and passes the decision on."""


def train_trial(request: TrialRequest, report: Report, workers: "Workers | None" = None) -> None:
    """Train a trial in its folder, from its last checkpoint if there is one.

    Args:
        request: The trial, with a store on this machine.
        report: Takes each epoch's row; of several workers only the first calls it.
        workers: The workers that train it together; None: this process alone.

    Raises:
        NodeLeavingError: The node is being drained; a checkpoint of the last step is written.
    """
    with importing():
        from prvr_model.files.folder import Folder
        from prvr_model.process_group import ALONE
        from prvr_model.store.reader import FeatureStore
        from prvr_model.training.train_loop import train

    store = FeatureStore.open(Path(request.store))
    folder = Folder.open(request.folder)
    group = workers or ALONE
    result = train(request.settings, store, folder, report, request.speed, group, is_leaving)
    if result.stop_reason == "left":
        raise NodeLeavingError


def load_trial_function(name: str) -> TrialFunction:
    """The function called `module:function`."""
    loaded: TrialFunction = _load(name)
    return loaded


def run_worker(name: str, request: TrialRequest, report: Report) -> None:
    """Run the function called `module:function` as one worker of this process's group."""
    from prvr_model.process_group import GroupWorkers

    function: WorkerFunction = _load(name)
    function(request, report, GroupWorkers())


def _load(name: str) -> Any:  # noqa: ANN401
    module, _, function = name.partition(":")
    with importing():
        return getattr(importlib.import_module(module), function)


_leaving = threading.Event()


def set_leaving() -> None:
    """Tell this process's trial to save a checkpoint at its next step and end."""
    _leaving.set()


def is_leaving() -> bool:
    """Whether the trial must save a checkpoint and end."""
    return _leaving.is_set()


def local_request(request: TrialRequest, sent: "StoreFiles | None" = None) -> TrialRequest:
    """The request with the path of the store on this machine.

    Args:
        request: The trial.
        sent: The store's files, if the driver sent them.

    Raises:
        StoreError: The store cannot be copied here: it is gone, changed or damaged, or there is
            no room.
    """
    from prvr_model.files.location import is_uri
    from prvr_model.store.sources import FolderFiles
    from prvr_model.store.staging import cache_folder, staged_store

    if is_uri(request.store):
        files: StoreFiles = FolderFiles.open(request.store)
    elif sent is None or _is_here(request):
        return request
    else:
        files = sent
    path = staged_store(files, request.data_fingerprint, cache_folder(request.cache))
    return replace(request, store=str(path))


def _is_here(request: TrialRequest) -> bool:
    from prvr_model.errors import StoreError
    from prvr_model.store.reader import FeatureStore

    try:
        found = FeatureStore.open(Path(request.store)).manifest.fingerprint
    except StoreError:
        return False
    return found == request.data_fingerprint

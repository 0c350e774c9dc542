"""The data of a trial on the machine that runs it: found there, or copied there once.

A path is used as it is. A store at a URI is copied from there, and one that the sweep's driver
sent along from its pieces; both go to the machine's cache, see `prvr_model.store.staging`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.study.trial import TrialRequest

if TYPE_CHECKING:
    from prvr_model.store.sources import StoreFiles


def local_request(request: TrialRequest, sent: "StoreFiles | None" = None) -> TrialRequest:
    """The request with the path of the store on this machine.

    Args:
        request: The trial.
        sent: The store's files, where the driver sent them along; None: it did not.

    Raises:
        StoreError: The store cannot be copied here: it is gone, changed or damaged, or there is
            no room.
    """
    from prvr_model.store.sources import FolderFiles, is_uri
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

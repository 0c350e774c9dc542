"""A cluster without workers yet: what they will find must be known before the first trial.

Right after `ray up` only the head is there. Its own disk is refused at once, as no other machine
has it; everything else is asked of the first worker, which the sweep would start anyway.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.base.errors import PlaceError
from orchestrator.base.machine import network_file_system
from orchestrator.cluster.capacity import Node, TrialNeeds
from orchestrator.cluster.client import Cluster
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.cluster.node_check import SENT_STORE_LIMIT_BYTES, SharedPlaces

_FILE_SCHEME = "file://"


def bring_first_worker(
    cluster: Cluster,
    places: SharedPlaces,
    needs: TrialNeeds,
    coming: Sequence[Node],
    warn: Callable[[str], None],
) -> None:
    """Have a worker there that can be asked for the places; nothing is done where there is one.

    A head that runs trials itself may never need a worker, so none is waited for.

    Args:
        cluster: With its nodes, the head first.
        places: What the workers will have to find.
        needs: What a trial occupies.
        coming: Nodes that may still be started.
        warn: Takes a line for the user.

    Raises:
        PlaceError: A place is on a disk of this machine alone.
        SpecError: No trial would ever fit.
        ClusterError: No worker came in time.
    """
    if any(node.cpus for node in cluster.nodes[1:]):
        return
    _refuse_own_disk(places)
    pack_or_refuse(needs, [*cluster.nodes, *coming])
    if any(needs.slots_on(node) for node in cluster.nodes):
        warn(
            "no worker is there yet that could be asked for data and storage; those that start "
            f"later must find {_needed(places)}, or their trials fail"
        )
        return
    warn(
        "no worker is there yet; one is asked for, which takes minutes, to see whether it finds "
        "data and storage"
    )
    cluster.await_worker({"CPU": needs.cpus, "GPU": needs.gpus})


def _needed(places: SharedPlaces) -> str:
    storage = f"the driver's {places.storage}"
    return storage if places.data.is_small else f"{storage} and {places.data.store}"


def _refuse_own_disk(places: SharedPlaces) -> None:
    problems = []
    if not places.data.is_small and _is_on_own_disk(places.data.store):
        problems.append(
            f"data: {places.data.store} is on a disk of this machine; name it by a URI (data: "
            "s3://...) or put it on a file system that all nodes mount; up to "
            f"{SENT_STORE_LIMIT_BYTES >> 20} MiB it would go along with the sweep"
        )
    if _is_on_own_disk(places.storage):
        problems.append(
            f"storage: {places.storage} is on a disk of this machine; set --storage to s3://... or "
            "to a folder on a file system that all nodes mount"
        )
    if problems:
        found = "\n".join(f"  {one}" for one in problems)
        raise PlaceError(
            "workers of the cluster are still to come, and would not find everything; nothing was "
            f"started:\n{found}\n  where they share it all the same, let one start first "
            "(min_workers: 1 in the cluster's file): it is asked then"
        )


def _is_on_own_disk(place: str) -> bool:
    path = place.removeprefix(_FILE_SCHEME)
    return "://" not in path and network_file_system(Path(path)) is None

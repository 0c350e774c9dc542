"""Connects a sweep to a running cluster and checks the nodes before the first trial."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cluster.autoscaler import bring_first_worker, coming_nodes, is_growing
from orchestrator.cluster.capacity import RunningCluster
from orchestrator.cluster.client import attached_cluster
from orchestrator.cluster.node_check import SharedData, marked_locations
from orchestrator.preflight.estimate import trial_needs
from orchestrator.spec.data import trial_store
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.sweep.context import SweepContext
from prvr_model.files.location import uri_below

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore


def with_cluster(
    context: SweepContext, store: "FeatureStore", warn: Callable[[str], None]
) -> SweepContext:
    """The context with the cluster that its address names; unchanged without an address.

    Raises:
        ClusterError: Nothing answers at the address, or no worker came in time.
        LocationError: A node lacks the storage or the data, or nodes to come would.
    """
    if not context.address:
        return context
    storage = uri_below(context.locations.storage or str(context.home), context.spec.name)
    return replace(
        context, cluster=ready_cluster(context.address, context.spec, store, storage, warn)
    )


def ready_cluster(
    address: str, spec: SweepSpec, store: "FeatureStore", storage: str, warn: Callable[[str], None]
) -> RunningCluster:
    """The cluster, after a task on each node has looked for the data and written to the storage.

    If nodes are still to come, at least one worker node is up before the first trial.

    Args:
        address: `auto`, or HOST:PORT of its head.
        spec: The sweep that runs on it.
        store: Its data.
        storage: Folder or URI for the trials' files.
        warn: Takes a line for the user.

    Raises:
        ClusterError: Nothing answers at the address, or no worker came in time.
        LocationError: A node lacks the storage or the data, or nodes to come would.
    """
    data = SharedData.of(trial_store(spec.data, store), store.manifest)
    with marked_locations(data, storage) as shared, attached_cluster(address) as cluster:
        coming = coming_nodes(cluster.nodes)
        if coming:
            needs = trial_needs(spec.resources, None)
            bring_first_worker(cluster, shared, needs, coming, warn)
            coming = coming_nodes(cluster.nodes)
        lacking = cluster.check_locations(shared)
        if lacking:
            warn(f"{', '.join(lacking)}: {data.store} is missing; it is sent with the trials")
        nodes = [*cluster.nodes, *coming]
        growing = is_growing(cluster.nodes)
        # Future nodes may lack data that nodes of another kind have; nodes that have it get none.
        sent = data.store if lacking or (growing and data.is_small) else None
        return RunningCluster(address, nodes, sent, growing)

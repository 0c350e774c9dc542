"""Starts a Ray cluster on loopback, says its addresses, and ends it with its stdin.

Each line of stdin adds a node.

A process of its own: Ray keeps one state a process, and other tests start their own.
"""

import json
import sys

from ray._private import services
from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 80 * 2**20
_NODES = ('{"num_cpus": 1, "resources": {"train_driver": 1}}', '{"num_cpus": 3, "num_gpus": 1}')


def main() -> None:
    """Run until stdin ends."""
    # Ray takes 127.0.0.1 for a mistake and would listen on the network.
    services.resolve_ip_for_localhost = str
    cluster = Cluster()
    shared = {
        "node_ip_address": "127.0.0.1",
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "dashboard_host": "127.0.0.1",
    }
    try:
        for options in map(json.loads, sys.argv[1:] or _NODES):
            cluster.add_node(**{**shared, **options})
        sys.stdout.write(f"{cluster.address} {cluster.webui_url or '-'}\n")
        sys.stdout.flush()
        for options in map(json.loads, sys.stdin):
            cluster.add_node(**{**shared, **options})
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()

"""A Ray that is already running, for as long as one sweep runs there; it is never stopped.

What the sweep started ends with its connection; authentication is the environment's.
"""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.cluster.attached_process import attached
from orchestrator.cluster.ray_environment import environment, own_signals, quiet, ray_variables
from orchestrator.executors.executor import Interruption


@contextmanager
def attached_ray(address: str, threads: int, interruption: Interruption) -> Iterator[Path]:
    """This process as a sweep's driver on a running cluster; gives its scratch folder.

    `cluster_query` has asked the cluster before: this waits for it without a limit of its own, but
    Ctrl-C is heard.

    Args:
        address: `auto`, or HOST:PORT of its head.
        threads: Threads of a worker's numerical libraries.
        interruption: The user's wish to end.

    Raises:
        ClusterError: There is no cluster any more, or it refuses.
    """
    variables = ray_variables(threads)
    namespace = f"prvr-{uuid.uuid4().hex}"
    with (
        tempfile.TemporaryDirectory(prefix="prvr-", ignore_cleanup_errors=True) as scratch,
        environment(variables),
        quiet(),
        own_signals(),
    ):
        connection = attached(address, namespace=namespace, variables=variables)
        with interruption.at_once():
            connection.__enter__()
        try:
            interruption.listen_again()
            interruption.check()
            yield Path(scratch)
        finally:
            connection.__exit__(None, None, None)

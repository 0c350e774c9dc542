"""Whether this process must leave its node; set by whoever watches the node, asked at every step.

A flag of the process: what watches knows Ray, what trains does not.
"""

import threading

_leaving = threading.Event()


def set_leaving() -> None:
    """From now on this process's trial saves itself at its next step and ends."""
    _leaving.set()


def is_leaving() -> bool:
    """Whether the trial must save itself and end."""
    return _leaving.is_set()

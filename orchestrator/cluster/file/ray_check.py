"""Ray's own check of a cluster file, which needs no cloud and no network."""

import copy
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from orchestrator.base.errors import RayChangedError
from orchestrator.spec.problems import Problem

try:
    from ray.autoscaler._private.util import prepare_config, validate_config
except ImportError as error:
    raise RayChangedError(str(error)) from error


def ray_problem(config: Mapping[str, Any]) -> Problem | None:
    """The first problem that Ray finds in a cluster file.

    Args:
        config: The file's content.

    Returns:
        None if Ray accepts the file, which says little; see `rules`.
    """
    try:
        # Ray fills in defaults as it goes, and prints on stdout, which is for results.
        with redirect_stdout(sys.stderr):
            validate_config(prepare_config(copy.deepcopy(dict(config))))
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        path = tuple(str(step) for step in getattr(error, "absolute_path", ()))
        said = getattr(error, "message", None) or str(error) or type(error).__name__
        return Problem(path, f"refused by Ray: {said}")
    return None

"""What is said of a task on a node that failed."""

import pytest
from ray.exceptions import RayError, RayTaskError

from orchestrator.cluster.node_survey import ray_error_text


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("look", "Traceback ...", cause)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RayError("the node died\nits logs say why"), "RayError: its logs say why"),
        (raised(ValueError("no store\n")), "ValueError: no store"),
        (raised(AssertionError()), "AssertionError"),
    ],
)
def test_class_and_last_line_of_the_cause(error: RayError, text: str) -> None:
    assert ray_error_text(error) == text

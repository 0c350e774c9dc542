"""What a plan says of limits of cost."""

import itertools

import pytest

from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight.plan import plan_here
from orchestrator.preflight.plan_limits import PlanLimits, plan_limits
from orchestrator.spec.data import data_size
from orchestrator.spec.search_space import resolve
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.retrieval.costs import known_costs
from tests.orchestrator.report.sweeps import COSTLY, spec_of

BYTES, WEIGHTS = "cost/bytes_per_video", "cost/parameters"
LIMITS = "limits={cost/bytes_per_video: 14080, cost/parameters: 300000, cost/train_s: 9}"


def limits_of(*overrides: str) -> tuple[SweepSpec, PlanLimits]:
    spec = spec_of(COSTLY, *overrides)
    found = plan_limits(spec, data_size(spec.data))
    assert found is not None
    return spec, found


def test_shares_are_those_of_the_space() -> None:
    spec, found = limits_of(LIMITS)
    size = data_size(spec.data)
    costs = [
        known_costs(
            resolve(spec, {"model.hidden_size": hidden, "model.num_clips": clips}).model,
            size.video_dim,
            size.text_dim,
        )
        for hidden, clips in itertools.product((16, 32, 64, 128), (8, 12, 16))
    ]
    for name in (BYTES, WEIGHTS):
        exact = sum(each[name] <= spec.limits[name] for each in costs) / len(costs)
        assert found.shares[name] == pytest.approx(exact, abs=0.1)
        assert found.cheapest[name] == min(each[name] for each in costs)
    assert found.within == min(found.shares.values())
    assert plan_limits(spec, size) == found
    assert found.warnings == []


def test_the_plan_shows_objectives_limits_and_crown() -> None:
    text = render_plan(plan_here(spec_of(COSTLY, LIMITS)))
    _, found = limits_of(LIMITS)
    assert (
        "  objective  maximize val/SumR\n             minimize cost/bytes_per_video\n  limits     "
        f"cost/bytes_per_video at most 14,080: {100 * found.shares[BYTES]:.0f} % of the space\n"
    ) in text
    assert "  cost/train_s at most 9, which is measured: a trial over it is not crowned\n" in text
    assert f"  together: {100 * found.within:.0f} % of the space\n" in text
    assert (
        "  crown      the knee: the trial nearest to the best of all objectives at once\n" in text
    )


@pytest.mark.parametrize(
    ("limit", "warning"),
    [
        (
            "cost/bytes_per_video: 3000",
            "none of 200 points drawn from the space has cost/bytes_per_video at most 3,000 (the "
            "least is 3,200): the search would train nothing; raise the limit, or search cheaper "
            "models",
        ),
        ("cost/bytes_per_video: 3000, cost/train_s: 9", "none of 200 points drawn from the space "),
    ],
)
def test_a_space_beyond_its_limits_is_warned_about(limit: str, warning: str) -> None:
    planned = plan_here(spec_of(COSTLY, f"limits={{{limit}}}"))
    (found,) = [text for text in planned.warnings if text.startswith("limits: ")]
    assert found.startswith(f"limits: {warning}")
    assert planned.to_dict()["limits"]["within"] == 0


def test_a_space_of_which_hardly_anything_is_left_is_warned_about() -> None:
    wide = "search.parameters.model.num_clips={type: int, low: 8, high: 32}"
    planned = plan_here(spec_of(COSTLY, wide, "limits={cost/bytes_per_video: 3300}"))
    (found,) = [text for text in planned.warnings if text.startswith("limits: ")]
    assert "of 200 points drawn from the space have cost/bytes_per_video at most 3,300" in found
    assert found.endswith("may train far fewer trials than it is asked for; raise the limit, or "
                          "search cheaper models")  # fmt: skip


def test_what_is_measured_has_no_share() -> None:
    _, found = limits_of("limits={cost/train_s: 9}")
    assert found.shares == {}
    assert found.warnings == []
    assert found.to_dict()["within"] is None


def test_without_limits_there_is_nothing_to_say() -> None:
    planned = plan_here(spec_of(COSTLY, "limits={}"))
    assert planned.limits is None
    assert "  limits " not in render_plan(planned)

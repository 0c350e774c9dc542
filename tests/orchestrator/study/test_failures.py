"""Failures by cause."""

import pytest

from orchestrator.commands.status_text import failure_lines
from orchestrator.study.failures import grouped_failures, without_varying
from orchestrator.study.trial import FailureCause, TrialState, TrialSummary


def failed(number: int, message: str, kind: str = "ValueError", trace: str = "") -> TrialSummary:
    cause = FailureCause(kind, message, trace)
    return TrialSummary(number, TrialState.FAILED, {}, None, None, 0, "", "", cause)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("loss was nan at step 17", "loss was inf at step 4"),
        ("tried to allocate 2.00 GiB", "tried to allocate 512.5 GiB"),
        ("/runs/a/trials/00001/last: torn", "/runs/b/trials/00002/last: torn"),
        ("s3://bucket/a/1: cannot be read", "s3://bucket/b/2: cannot be read"),
        ("rate 1e-3 is too high", "rate 0.25 is too high"),
        ("actor 4fe2a81b0c died", "actor 90ab12cd34 died"),
        ("object at 0x7f12aa gone", "object at 0x1 gone"),
    ],
)
def test_numbers_and_paths_make_no_other_cause(first: str, other: str) -> None:
    assert without_varying(first) == without_varying(other)
    (group,) = grouped_failures([failed(3, first), failed(5, other)])
    assert (group.numbers, group.message) == ((3, 5), first)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("losses.tau is too high", "losses.margin is too high"),
        ("clip_triplet was nan at step 3", "tcpl_angle was nan at step 3"),
        ("yes and/or no", "yes"),
    ],
)
def test_names_make_another_cause(first: str, other: str) -> None:
    assert len(grouped_failures([failed(0, first), failed(1, other)])) == 2


def test_another_class_is_another_cause() -> None:
    assert len(grouped_failures([failed(0, "x"), failed(1, "x", "KeyError")])) == 2


def test_the_most_frequent_comes_first_with_the_first_traceback() -> None:
    trials = [failed(0, "odd", "KeyError"), failed(1, "at 1", trace="one"), failed(2, "at 2")]
    groups = grouped_failures(trials)
    assert [group.numbers for group in groups] == [(1, 2), (0,)]
    assert failure_lines(groups) == [
        "3 failed: 2 causes",
        "  2 failed (1, 2): ValueError: at 1",
        "    of trial 1:",
        "      one",
        "  1 failed (0): KeyError: odd",
    ]


def test_of_many_trials_and_frames_some_are_shown() -> None:
    trace = "\n".join(f"frame {k}" for k in range(40))
    lines = failure_lines(grouped_failures(failed(k, "x", trace=trace) for k in range(38)))
    assert lines[0] == "38 failed: 1 cause"
    assert lines[1].startswith("  38 failed (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...): ")
    assert lines[-1] == "      frame 39"
    assert len(lines) == 3 + 13


def test_without_failures_nothing_is_said() -> None:
    assert failure_lines(()) == []

"""What the errors of sweeps say, and how the command line exits."""

from orchestrator.base.errors import (
    HomeLockedError,
    SpecError,
    SweepExistsError,
    SweepNotFoundError,
)


def test_a_spec_error_shows_every_problem() -> None:
    error = SpecError(["one", "two"])
    assert error.exit_code == 2
    assert str(error) == "one\ntwo"
    assert error.problems == ("one", "two")


def test_a_sweep_that_exists_can_be_resumed_or_renamed() -> None:
    error = SweepExistsError("cbva", "sqlite:////home/study.db")
    assert error.exit_code == 2
    assert str(error) == (
        "sweep 'cbva' exists already in sqlite:////home/study.db; look at it with "
        "`prvr-sweep status cbva`, continue it with `prvr-sweep resume cbva`, or launch under "
        "another name (--set name=...)"
    )


def test_a_sweep_that_is_missing_names_those_that_are_there() -> None:
    assert str(SweepNotFoundError("a", "study.db", ["c", "b"])) == (
        "no sweep 'a' in study.db; sweeps there: b, c"
    )
    assert str(SweepNotFoundError("a", "study.db", [])).endswith("sweeps there: none")
    assert SweepNotFoundError("a", "study.db", []).exit_code == 2


def test_a_locked_home_names_its_holder() -> None:
    assert str(HomeLockedError("/home", "process 7")) == (
        "process 7 runs a sweep in /home; wait for it, stop it with Ctrl-C, or use another folder "
        "with --home"
    )
    assert str(HomeLockedError("/home", "another process")).startswith(
        "another process runs a sweep"
    )

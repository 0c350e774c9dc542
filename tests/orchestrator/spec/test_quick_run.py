"""`--quick`: every shipped file at a fraction of its budget, and what a user says stands."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight.plan import plan_here
from orchestrator.spec.loading import load_spec
from orchestrator.spec.quick_run import load_any_quick, quick_line
from orchestrator.spec.sweep_spec import SCHEDULE_EPOCHS, SweepSpec
from orchestrator.spec.warnings import spec_warnings
from tests.locations import SEARCH_SPACES

LADDER, SEARCH = SEARCH_SPACES / "ablation_ladder.yaml", SEARCH_SPACES / "cbva.yaml"


def quick_of(space: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    spec = load_any_quick(space, overrides)
    assert isinstance(spec, SweepSpec)
    return spec


@pytest.mark.parametrize("space", sorted(SEARCH_SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_has_a_quick_form(space: Path) -> None:
    whole, quick = load_spec(space), quick_of(space)
    assert quick.name == f"{whole.name}-quick"
    assert quick.question.endswith(f"do not answer: {whole.question}")
    assert quick.registration.top == 0
    assert quick.rows == whole.rows
    assert (quick.max_epochs, quick.setting_values(SCHEDULE_EPOCHS)) == (3, (3,))
    assert quick.num_trials == (2 * len(quick.rows) if quick.rows else 4)
    assert quick.ablation is None or quick.ablation.race is None
    assert all("seeds 2" in warning for warning in spec_warnings(quick))


@pytest.mark.parametrize("space", sorted(SEARCH_SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_has_a_plan(space: Path) -> None:
    whole, quick = plan_here(load_spec(space)), plan_here(quick_of(space))
    assert whole.warnings == ()
    text = render_plan(whole)
    assert all(row.name in text for row in whole.spec.rows)
    assert quick.epochs.most < whole.epochs.most / 4
    assert quick.most_trials == quick.trials <= 26


def test_it_is_said() -> None:
    said = "--quick: 3 epochs and 2 seeds, to see that everything works"
    assert quick_line(quick_of(LADDER)).startswith(said)
    assert quick_line(quick_of(SEARCH)).startswith("--quick: 3 epochs, to see that")


def test_what_the_user_says_stands() -> None:
    said = ("ablation.seeds=4", "early_stopping.max_epochs=5", "name=mine", "register.top=2")
    quick = quick_of(LADDER, said)
    assert quick.registration.top == 2
    assert (quick.name, quick.max_epochs, quick.num_trials) == ("mine", 5, 4 * len(quick.rows))
    assert quick.setting_values(SCHEDULE_EPOCHS) == (5,)
    assert quick_of(LADDER, ["training.epochs=2"]).max_epochs == 2
    assert quick_of(LADDER, ["settings.training.epochs=7"]).max_epochs == 7


def changed(path: Path, folder: Path, old: str, new: str) -> Path:
    """A copy of a file with one place changed."""
    text = path.read_text()
    assert text.count(old) == 1
    copy = folder / path.name
    copy.write_text(text.replace(old, new))
    return copy


def test_seeds_of_a_list_are_its_first(tmp_path: Path) -> None:
    assert quick_of(changed(LADDER, tmp_path, "seeds: 5", "seeds: [7, 3, 5]")).seeds() == (7, 3)
    assert quick_of(changed(LADDER, tmp_path, "seeds: 5", "seeds: 1")).seeds() == (1,)


def test_a_first_rung_and_a_confirmation_fit_the_cut_budget(tmp_path: Path) -> None:
    with_it = "register: {top: 1}\nconfirm: {top: 5, seeds: 4}"
    quick = quick_of(changed(SEARCH, tmp_path, "register: {top: 1}", with_it))
    assert quick.early_stopping.first_rung == 1
    assert quick.confirm is not None
    assert (quick.confirm.top, quick.confirm.seeds) == (2, 2)


def test_a_long_name_stays_a_name(tmp_path: Path) -> None:
    long = changed(LADDER, tmp_path, "name: ablation-ladder", f"name: {'a' * 64}")
    assert quick_of(long).name == "a" * 58 + "-quick"

"""`data:` as names of stores: what it makes, what it refuses, and where mistakes are."""

from pathlib import Path

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.spec.joint import JointSpec, rows_spec
from orchestrator.spec.loading import load_any, load_spec, read_joint
from orchestrator.spec.quick_run import load_any_quick
from orchestrator.spec.sweep_spec import SweepSpec

ABLATION = """\
name: both
question: Is it better on both?
data:
  tvr: ./tvr.store
  made: {synthetic: {train_videos: 16}}
  far: s3://bucket/didemo
transfer: true
settings: {training.epochs: 4, optimizer.schedule_epochs: 9, losses.hard_negative_epoch: 0}
ablation:
  design: one_in
  variants: {other: {losses.tau: 0.7}}
  seeds: [4, 6]
"""
SEARCH = (
    ABLATION.partition("ablation:")[0]
    + """\
search:
  trials: 4
  parameters:
    losses.cross_branch: {type: categorical, choices: [fixed, adaptive]}
    losses.tau: {type: float, low: 0.5, high: 0.9, when: {losses.cross_branch: adaptive}}
early_stopping: {method: asha, max_epochs: 4}
confirm: {top: 2, seeds: 3}
"""
)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    (tmp_path / "both.yaml").write_text(ABLATION)
    return tmp_path / "both.yaml"


def loaded(path: Path, *overrides: str) -> JointSpec:
    found = load_any(path, overrides)
    assert isinstance(found, JointSpec)
    return found


def problems(path: Path, *overrides: str) -> str:
    with pytest.raises(SpecError) as error:
        load_any(path, overrides)
    return str(error.value)


def test_each_data_set_gets_a_sweep_of_its_own_name(space: Path) -> None:
    found = loaded(space)
    assert found.part_names == ("both-tvr", "both-made", "both-far")
    stores = [part.data.store for part in found.parts.values()]
    assert stores == [str(space.parent / "tvr.store"), None, "s3://bucket/didemo"]
    assert {part.seeds() for part in found.parts.values()} == {(4, 6)}
    assert found.transfer
    assert read_joint(found.dump_yaml()) == found
    changed = loaded(space, "data.made=builtin", "transfer=false", "losses.tau=0.6")
    made = changed.parts["made"]
    assert (made.data.synthetic, made.settings["losses.tau"]) != (None, None)
    assert not changed.transfer


def test_a_quick_run_cuts_every_part(space: Path) -> None:
    found = load_any_quick(space)
    assert isinstance(found, JointSpec)
    assert found.part_names[0] == "both-quick-tvr"
    assert all(part.max_epochs == 3 for part in found.parts.values())
    long = load_any_quick(space, [f"name={'n' * 59}"])
    assert len(max(long.part_names, key=len)) == 64  # type: ignore[union-attr]


def test_mistakes_are_found_at_their_lines(space: Path) -> None:
    space.write_text(ABLATION.replace("train_videos", "train_vids"))
    assert f"{space}:5: data.made.synthetic.train_vids: unknown key" in problems(space)
    space.write_text(ABLATION.replace("seeds: [4, 6]", "seeds: 0"))
    # Once, although every part has it.
    assert problems(space).count("found 0; allowed: a whole number >= 1") == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.again=./tvr.store", "data.again: "),
        ("data.Big=builtin", "found 'Big' as a name; allowed: a-z, 0-9, - and _"),
        ("transfer=3", "found 3; allowed: true or false"),
        ("ablation.race=true", "a race would end them apart"),
        ("data=builtin", ":7: transfer: found with one data set; allowed: with several"),
        ("data={tvr: ./tvr.store}", "found one data set by name, 'tvr'; allowed: its store alone"),
        (f"name={'n' * 62}", "at most 64"),
    ],
)
def test_what_several_data_sets_refuse(space: Path, override: str, said: str) -> None:
    overrides = [override]
    if override.startswith("data.again"):
        # On the command line a store is relative to the working directory.
        overrides = [f"data.again={space.parent / 'tvr.store'}"]
        said = "is the same data as tvr, which would count twice"
    assert said in problems(space, *overrides)


def test_forms_of_one_data_set_stay(space: Path) -> None:
    for data in ("builtin", "./x.store", "{store: ./x.store}", "{synthetic: {seed: 3}}"):
        assert isinstance(load_any(space, [f"data={data}", "transfer=false"]), SweepSpec)
    with pytest.raises(SpecError, match=r"several data sets \(tvr, made, far\); allowed here: one"):
        load_spec(space)


def test_a_search_needs_a_confirmation_and_its_rows_are_written_out(space: Path) -> None:
    space.write_text(SEARCH)
    assert "missing; with several data sets the configurations" in problems(space, "confirm=null")
    assert "allowed: maximize" in problems(space, "objective.direction=minimize")
    part = loaded(space).parts["made"]
    found = rows_spec(
        part,
        {
            "trial 3": {"losses.cross_branch": "adaptive", "losses.tau": 0.7},
            "trial 1": {"losses.cross_branch": "fixed"},
        },
    )
    tau = found.setting_values("losses.tau")
    assert [row.name for row in found.rows] == ["trial 3", "trial 1"]
    assert found.rows[1].overrides["losses.cross_branch"] == "fixed"
    assert found.rows[1].overrides["losses.tau"] == tau[1] != 0.7
    assert found.seeds() == (2, 3, 4)
    assert (found.search, found.confirm, found.early_stopping.method) == (None, None, "none")
    assert (found.name, found.data, found.max_epochs) == (part.name, part.data, part.max_epochs)

"""Sweeps over several data sets: interrupted, resumed, read as one and refused."""

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

import orchestrator
from orchestrator import cli
from orchestrator.base.errors import HomeLockedError, ResumeError, SweepNotFoundError
from orchestrator.base.home import outbox_path
from orchestrator.joint.launch import JointHooks, JointResult, launch_joint
from orchestrator.report.marks import row_key
from orchestrator.report.transfer import transfer_of
from orchestrator.spec.data import open_data
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import load_any
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import LogProgress, SilentProgress
from orchestrator.sweep.sync import SyncResult
from orchestrator.tracking.events import REPORT_FILES
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.tags import JOINT_TAG, NOTE_TAG
from orchestrator.tracking.writer import connect, experiment_ids
from tests.orchestrator.command_line import TINY_SPACE, Run
from tests.orchestrator.evaluation.test_matrix import write
from tests.orchestrator.report.latex_compiler import compiled

HEAD = TINY_SPACE.partition("search:")[0].partition("data:")
SETTINGS = HEAD[2].partition("settings:")
SMALL = "{train_videos: 12, val_videos: 8, test_videos: 8, min_frames: 10, max_frames: 20"
TWO = f"""\
name: both
question: Does it hold on all?
data:
  near: {{synthetic: {SMALL}}}}}
  noisy: {{synthetic: {SMALL}, seed: 2, frame_noise: 2.0}}}}
  shared: ./shared.store
transfer: true
settings:{SETTINGS[2]}\
  training.epochs: 1
ablation:
  design: one_in
  variants: {{fast: {{optimizer.learning_rate: 1e-2}}}}
  seeds: 1
register: {{top: 0}}
prices: {{currency: EUR, cpu_hour: 360000}}
"""
SEARCH = f"""\
name: found
question: Does what was found hold on another?
data:
  near: {{synthetic: {SMALL}}}}}
  noisy: {{synthetic: {SMALL}, seed: 2, frame_noise: 2.0}}}}
settings:{SETTINGS[2]}\
  training.epochs: 1
search:
  sampler: grid
  parameters: {{optimizer.learning_rate: {{type: categorical, choices: [1e-3, 1e-2]}}}}
confirm: {{top: 2, seeds: 2}}
register: {{top: 0}}
budget: {{trials: 8}}
"""


class _Interrupting(SilentProgress):
    """Presses Ctrl-C when the first trial has ended."""

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def launched(folder: Path, text: str, *, interrupt: bool = False) -> JointResult:
    write(folder / "shared.store")
    (folder / "space.yaml").write_text(text)
    spec = load_any(folder / "space.yaml")
    assert isinstance(spec, JointSpec)
    home = (folder / "home").resolve()
    locations = SweepLocations(home, None, TrackingStore.of_home(home))
    progress = _Interrupting if interrupt else SilentProgress
    return launch_joint(spec, locations, JointHooks(progress, lambda line: None), "inline")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A sweep over three data sets, interrupted in the first one and resumed with more seeds."""
    path = tmp_path_factory.mktemp("both")
    new_home(path / "home")
    first = launched(path, TWO, interrupt=True)
    assert first.interrupted
    assert list(first.parts) == ["near"]
    home = ["--home", str(path / "home")]
    assert cli.run(["resume", "both", "--seeds", "2", *home]) == 0
    return path


def test_an_interrupted_sweep_goes_on_with_all_that_is_left(run: Run) -> None:
    found = json.loads(run("status both --json --home home")[0])
    assert found["state"] == "finished"
    for part in found["parts"].values():
        assert [trial["state"] for trial in part["trials"]] == ["complete"] * 4
    sums = [part["money"]["total"] for part in found["parts"].values()]
    assert found["money"]["total"] == pytest.approx(sum(sums))
    text = run("status both --home home")[0]
    assert "; all data sets together" in text
    assert "both over near, noisy, shared: finished" in text
    assert "continue all" not in text


def test_the_joint_report_has_a_table_each_and_one_over_all(run: Run, tmp_path: Path) -> None:
    text = run("report both --home home")[0]
    for data in ("near", "noisy", "shared"):
        assert f"## On {data}" in text
        assert f"{data}: Recalls on validation" in text
    assert "Differences of SumR, on each data set and on their mean" in text
    assert text.count("the frozen features: ") == 1
    assert "Cost: " in text
    assert "Data sets are fixed; new seeds and new videos of each" in text
    numbers = json.loads(run("report both --format json --home home")[0])
    (pair,) = numbers["comparisons"]
    mean = sum(pair["differences"].values()) / 3
    assert pair["difference"] == pytest.approx(mean)
    for data, part in numbers["data_sets"].items():
        (alone,) = part["comparisons"]
        assert alone["difference"] == pair["differences"][data]
        assert ("raining" in (part["against_frozen"] or "")) == (data == "shared")
    page = run("report both --format html --home home")[0]
    assert page.count("<svg") == 2
    latex = run("report both --format tex --home home")[0]
    assert "winner of" in latex
    assert "Overfull \\hbox" not in compiled(latex, tmp_path)


@pytest.mark.usefixtures("drawn_figures")
def test_the_page_names_a_row_and_finds_its_marks(run: Run) -> None:
    page = run("report both --format html --home home")[0]
    key = row_key("fast")
    figure = page[page.index("<svg") : page.index("</svg>")]
    # Interval and mean of three data sets, and of all.
    assert figure.count(f'data-key="{key}"><title>fast: val/SumR on near ') == 8
    # The mean, whether data sets differ, recalls and differences of each; one has labels.
    assert page.count(f'<tr data-key="{key}">') == 9
    assert page.count(f'"{key}":"fast: val/SumR on near ') == 1
    assert "optimizer.learning_rate 0.01" in page
    # The page's policy lets no image in, not even one that it holds.
    assert "<image" not in page


def test_winners_are_scored_where_they_fit(folder: Path, run: Run) -> None:
    found = transfer_of(folder / "home", "both")
    assert found is not None
    assert found.splits == {"near": "test", "noisy": "test", "shared": "test"}
    scored = {(cell.source, cell.target) for cell in found.cells if cell.recalls}
    fitting = {(source, target) for source in ("near", "noisy") for target in ("near", "noisy")}
    frozen = {("frozen:maximum", "shared"), ("frozen:segments", "shared")}
    assert scored == {*fitting, ("shared", "shared"), *frozen}
    moved = found.cell("near", "noisy")
    own = found.cell("noisy", "noisy")
    assert moved.difference == pytest.approx((moved.value or 0) - (own.value or 0))
    assert own.difference is None
    spec = load_any(folder / "space.yaml")
    assert isinstance(spec, JointSpec)
    store = open_data(spec.parts["noisy"].data, (folder / "home").resolve(), print)
    line = f"evaluate {found.models['near']} --on {store.path}:test --transfer --home home --json"
    (result,) = json.loads(run(line)[0])["results"]
    assert result["own"]["SumR"]["value"] == pytest.approx(moved.value)
    text = run("report both --home home")[0]
    note = "The winner of near does not fit shared: it takes 64 values a row of a video and 48 a"
    assert text.count(note) == 1
    assert text.count("text and video of generated data share no space") == 2
    assert "does not fit" in text


def test_parts_are_named_where_one_sweep_is_needed(run: Run) -> None:
    _, said = run("export both trials.csv --home home", 2)
    assert "both is a sweep over several data sets; name one of its parts: both-near, " in said
    _, said = run("report both-near --compare both --home home", 2)
    assert "name one of its parts" in said
    _, said = run("report both --compare both-near --home home", 2)
    assert "--compare takes two sweeps of one data set" in said
    assert "noisy" in run("report both-noisy --compare both-near --home home")[0]


def test_names_that_are_taken_are_refused(folder: Path, run: Run) -> None:
    again = "launch space.yaml --home home --executor inline"
    _, said = run(again, 2)
    assert "its spec differs; continue it as it was by" in said
    assert "it has the same spec" in run(f"{again} --set ablation.seeds=2", 2)[1]
    (folder / "single.yaml").write_text(TINY_SPACE)
    alone = "launch single.yaml --home home --executor inline --set name"
    assert "sweep 'both-near' exists already" in run(f"{alone}=both-near", 2)[1]
    assert "a sweep over several data sets has this name" in run(f"{alone}=both", 2)[1]


def test_every_part_is_freed_and_synced(run: Run) -> None:
    found = json.loads(run("gc both --dry-run --json --home home")[0])
    assert [part["sweep"] for part in found["parts"]] == ["both-near", "both-noisy", "both-shared"]
    assert run("sync both --home home")[0].count("has everything of both-") == 3


def _joint_files(home: Path) -> dict[str, set[str]]:
    """Names of the files of the joint report on the run of each part."""
    client = connect(TrackingStore.of_home(home))
    experiments = list(experiment_ids(client).values())
    found = client.search_runs(experiments, f"tags.`{JOINT_TAG}` = 'both'")
    return {
        run.info.run_name: {
            file.path
            for file in client.list_artifacts(run.info.run_id)
            if file.path.startswith("joint-")
        }
        for run in found
    }


def test_every_part_has_the_joint_report_in_mlflow(folder: Path, run: Run) -> None:
    home = folder / "home"
    files = {f"joint-{name}" for name in REPORT_FILES}
    everywhere = dict.fromkeys(("both-near", "both-noisy", "both-shared"), files)
    assert _joint_files(home) == everywhere
    before = outbox_path(home, "both-near").read_bytes()
    assert run("sync both --home home")[0].count("has everything of both-") == 3
    assert outbox_path(home, "both-near").read_bytes() == before
    # Neither a lost outbox nor a lost MLflow loses it.
    outbox_path(home, "both-near").unlink()
    shutil.rmtree(home / "mlartifacts")
    run("sync both --home home")
    assert _joint_files(home) == everywhere
    client = connect(TrackingStore.of_home(home))
    (near,) = client.search_runs(
        list(experiment_ids(client).values()), "attributes.run_name = 'both-near'"
    )
    answer = json.loads((home / "both" / "report.json").read_text())["answer"]
    assert f"both, all data sets (file joint-report.html): {answer}" in near.data.tags[NOTE_TAG]


@pytest.mark.parametrize("fault", ["away", "locked"])
def test_a_joint_report_that_mlflow_does_not_get_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def sync(*_: object) -> SyncResult:
        if fault == "locked":
            raise HomeLockedError("home", "process 1")
        return SyncResult("http://away", False, None)

    monkeypatch.setattr("orchestrator.joint.launch.sync", sync)
    out, said = run("resume both --home home", 1)
    assert "joint report: " in out
    assert "MLflow does not have the joint report: " in said
    assert "`prvr-sweep sync both --home" in said


def test_every_part_gets_the_seeds_that_were_added(run: Run) -> None:
    found = json.loads(run("report both --format json --home home")[0])
    rows = [row for part in found["data_sets"].values() for row in part["rows"]]
    assert [len(row["runs"]) for row in rows] == [2] * 6
    _, said = run("resume both --seeds 1 --home home", 2)
    assert "the sweep has 2, and a resume takes nothing away" in said
    _, said = run("resume both --trials 9 --home home", 2)
    assert "is an ablation: its trials are its rows" in said


def test_a_plan_shows_the_parts_and_their_sum(run: Run) -> None:
    text = run("plan space.yaml --home elsewhere")[0]
    assert text.count("trials     2, ") == 3
    assert "sweep both: 3 data sets one after the other, at most 6 trials" in text
    (total,) = (line for line in text.splitlines() if line.startswith("sweep both: 3 data sets"))
    assert " EUR; then every winner" in total
    found = json.loads(run("plan space.yaml --json --home elsewhere")[0])
    assert (list(found["parts"]), found["trials"]) == (["near", "noisy", "shared"], 6)


def test_python_gives_the_parts_and_the_report_over_all(folder: Path) -> None:
    both = orchestrator.open_sweep("both", folder / "home")
    assert isinstance(both, orchestrator.Sweeps)
    assert list(both.parts) == ["near", "noisy", "shared"]
    assert both.parts["noisy"].trials().num_rows == 4
    assert both.state == "finished"
    assert both.cost is not None
    assert both.report().startswith("# Does it hold on all?")
    assert json.loads(both.report("json"))["sweep"] == "both"
    again = orchestrator.resume("both", folder / "home", seeds=2)
    assert isinstance(again, orchestrator.Sweeps)
    with pytest.raises(ResumeError, match="a resume takes nothing away"):
        orchestrator.resume("both", folder / "home", seeds=1)
    with pytest.raises(SweepNotFoundError, match="name one of its parts"):
        orchestrator.Sweep("both", folder / "home").trials()


def test_python_launches_several_data_sets(
    tmp_path: Path, new_home: Callable[[Path], Path]
) -> None:
    new_home(tmp_path / "home")
    (tmp_path / "space.yaml").write_text(TWO.replace("  shared: ./shared.store\n", ""))
    log = StringIO()
    both = orchestrator.launch(
        tmp_path / "space.yaml",
        tmp_path / "home",
        overrides=("transfer=false",),
        progress=LogProgress(log),
        executor="inline",
    )
    assert isinstance(both, orchestrator.Sweeps)
    assert [part.state for part in both.parts.values()] == ["finished"] * 2
    assert log.getvalue().count("2/2 trials") == 2
    assert "4/" not in log.getvalue()


def test_a_doctor_looks_at_every_data_set(run: Run, folder: Path) -> None:
    found = json.loads(run("doctor space.yaml --home elsewhere --json")[0])
    sweeps = [each["message"] for each in found["findings"] if each["check"] == "sweep"]
    assert [text.partition(":")[0] for text in sweeps] == ["both-near", "both-noisy", "both-shared"]
    (folder / "lacking.yaml").write_text(TWO.replace("./shared.store", "./missing.store"))
    text = run("doctor lacking.yaml --home elsewhere", 1)[0]
    assert "problem  sweep      both-shared: " in text
    assert "missing.store" in text
    assert "ok       sweep      both-near: 2 trials" in text


def test_a_fault_names_its_data_set(run: Run, folder: Path) -> None:
    text = TWO.replace("  noisy:", "  missing: ./missing.store\n  noisy:")
    (folder / "faulty.yaml").write_text(text)
    for line in ("plan faulty.yaml", "launch faulty.yaml --executor inline"):
        assert "error: data set missing: " in run(f"{line} --home elsewhere", 3)[1]
    labels = "--set objective.metric=val/verified/mAP"
    _, said = run(f"plan space.yaml --home elsewhere {labels}", 3)
    assert "error: data set near: objective.metric is val/verified/mAP, but generated" in said


@pytest.mark.soak
def test_a_server_that_is_gone_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.sweep.launch._FLUSH_S", 1.0)
    monkeypatch.setattr("orchestrator.joint.launch._LOOK_S", 1.0)
    (tmp_path / "space.yaml").write_text(TWO.replace("  shared: ./shared.store\n", ""))
    home = tmp_path / "home"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        # Bound and not listening: it refuses, and no other process can take it.
        away = f"http://127.0.0.1:{free.getsockname()[1]}"
        line = ["launch", str(tmp_path / "space.yaml"), "--home", str(home)]
        assert cli.run([*line, "--executor", "inline", "--tracking-uri", away]) == 1
    said = capsys.readouterr().err
    assert "MLflow does not have the joint report: " in said
    assert "cannot be reached" in said
    here = ["--home", str(home), "--tracking-uri", TrackingStore.of_home(home).uri]
    assert cli.run(["sync", "both", *here]) == 0
    files = {f"joint-{name}" for name in REPORT_FILES}
    assert _joint_files(home) == {"both-near": files, "both-noisy": files}


@pytest.mark.soak
def test_a_search_is_confirmed_on_the_others_within_one_budget(
    tmp_path: Path, new_home: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    new_home(tmp_path / "home")
    found = launched(tmp_path, SEARCH)
    assert [part.spec.name for part in found.parts.values()] == ["found-near", "found-noisy"]
    later = found.parts["noisy"].spec
    assert later.seeds() == (2, 3)
    # Six of eight trials were spent on the first.
    assert later.budget is not None
    assert later.budget.trials == 2
    home = ["--home", str(tmp_path / "home")]
    assert cli.run(["resume", "found", "--budget", "trials=10", *home]) == 0
    capsys.readouterr()
    assert cli.run(["report", "found", "--format", "json", *home]) == 0
    numbers = json.loads(capsys.readouterr().out)
    near, noisy = ([row["name"] for row in part["rows"]] for part in numbers["data_sets"].values())
    assert near == noisy
    assert near[0].startswith("trial ")
    for part in numbers["data_sets"].values():
        assert [len(row["runs"]) for row in part["rows"]] == [2, 2]
    assert len(numbers["comparisons"]) == 1
    assert cli.run(["resume", "found", "--seeds", "3", *home]) == 2

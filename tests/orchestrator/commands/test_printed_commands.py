"""Every command that is printed can be run as it stands: real names, real options, its home."""

import ast
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from orchestrator import cli
from orchestrator.base.errors import (
    NothingStartsError,
    RegistryError,
    ReproductionError,
    StudyDatabaseError,
    SweepExistsError,
    TrackingError,
)
from orchestrator.base.text import DEFAULT_HOME, command
from orchestrator.commands.gc import _lines as gc_lines
from orchestrator.commands.outcome import show
from orchestrator.commands.status_text import render_status
from orchestrator.commands.submission_text import follow_commands, render_submission, summary
from orchestrator.preflight.check_machine import check_ui_port
from orchestrator.report.publishing import publish, render
from orchestrator.report.publishing import report as read_report
from orchestrator.study.reader import OVER_BUDGET
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.free_checkpoints import CheckpointFile, Freed, Retention
from orchestrator.sweep.launch import LaunchResult, _refuse_existing
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.reproduce import ReproduceRequest, reproduce
from orchestrator.sweep.resume import ResumeRequest, resume
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.submit import RemoteLocations, Submitted
from orchestrator.tracking.database_faults import damaged_advice
from orchestrator.tracking.lookup import registered_versions
from orchestrator.tracking.model_version import RegisteredVersion, compare_with_champion
from orchestrator.tracking.outbox_rebuild import rebuild_outbox
from orchestrator.tracking.store import TrackingStore
from tests.locations import ROOT
from tests.orchestrator.helpers import (
    FINGERPRINT,
    ListSink,
    new_searcher,
    new_study,
    run_sweep,
    small_spec,
)

_PRINTED = re.compile(
    r"prvr-sweep [^`\n]*(?=`)|(?<=: )prvr-sweep .*|(?<=^      )prvr-sweep .*", re.M
)
_FLAG_OF_HOME = "--home"


def printed(text: str) -> list[list[str]]:
    """The commands in a text, as a shell splits them."""
    return [shlex.split(found)[1:] for found in _PRINTED.findall(text)]


def check(words: list[str]) -> dict[str, Any]:
    """Parse a command as the command line does; returns its parameters."""
    group: click.Command = cli.cli
    context = click.Context(group, info_name="prvr-sweep")
    while isinstance(group, click.Group):
        name, *words = words
        found = group.get_command(context, name)
        assert found is not None, name
        group, context = found, click.Context(found, parent=context, info_name=name)
    parsed = group.make_context(words[0] if words else "", list(words), parent=context.parent)
    return parsed.params


def check_all(text: str, home: Path | None, at_least: int = 1) -> None:
    """Each command in a text parses, and names the home, by itself or by its MLflow."""
    commands = printed(text)
    assert len(commands) >= at_least, text
    for words in commands:
        parameters = check(words)
        if home is not None and "home" in parameters and "--tracking-uri" not in words:
            assert str(parameters["home"]) == str(home), words


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "runs of 'me' #3 & 50% more?"
    folder.mkdir()
    return folder


BEST = TrialSummary(0, TrialState.COMPLETE, {}, 1.0, 1, 1, "", "", None)
VERSION = RegisteredVersion("prvr-builtin", "1", 0, 1.0, "champion", "there was no champion")


@pytest.mark.parametrize("is_default", [False, True])
@pytest.mark.parametrize(
    "uri", [None, "sqlite:////data/my runs/other.db", "http://mlflow:5000",
            "postgresql://ada:se'cret@db/runs"],
)  # fmt: skip
@pytest.mark.parametrize("interrupted", [False, True])
def test_the_end_of_a_launch(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_default: bool,
    uri: str | None,
    interrupted: bool,
) -> None:
    if is_default:
        monkeypatch.chdir(home)
        home = DEFAULT_HOME.resolve()
    sweep = SweepResult("small", "sqlite://", str(home), {}, BEST, interrupted, ())
    result = LaunchResult(sweep, (), None, "it cannot be reached")
    places = SweepLocations(home, None, TrackingStore.of(uri, home))
    show(result, places, small_spec(), as_json=False)
    said = capsys.readouterr()
    assert "cret" not in said.out + said.err
    check_all(said.out, home, 2 if uri != "http://mlflow:5000" or interrupted else 1)
    check_all(said.err, home)
    if is_default:
        assert "--home" not in said.out + said.err
    if uri and uri.startswith("postgresql"):
        assert "--tracking-uri postgresql://ada:PASSWORD@db/runs" in said.err
        assert "ui --tracking-uri postgresql://ada:PASSWORD@db/runs" in said.out
    if uri and uri.startswith("sqlite"):
        assert "ui --tracking-uri 'sqlite:////data/my runs/other.db'" in said.out


def begun(home: Path, **attributes: Any) -> SweepStudy:  # noqa: ANN401
    """A study with a complete trial and an unfinished one."""
    spec = small_spec()
    study = new_study(home, spec)
    about = {"question": "?", "metric": "val/SumR", "spec_yaml": spec.dump_yaml(), **attributes}
    for key, value in about.items():
        study.set_attribute(key, value)
    searcher = new_searcher(study, spec)
    for number in range(2):
        searcher.next()
        study.record_epoch(number, 1, 10.0 + number, 1, is_judged=True)
    study.tell_complete(0)
    return study


@pytest.mark.parametrize(
    "attributes",
    [
        {"state": "interrupted"},
        {"state": "running", "driver": {"host": socket.gethostname(), "pid": 1, "started_s": 0}},
        {"state": "finished", OVER_BUDGET: "all of its 2 trials have begun"},
        {"state": "interrupted", "places": {"tracking_has_password": True}},
    ],
)
def test_status(home: Path, attributes: dict[str, Any]) -> None:
    begun(home, **attributes)
    from orchestrator.sweep.status import read_status

    text = render_status(read_status(home, "small"))
    check_all(text, home)
    assert ("--tracking-uri URI" in text) == ("places" in attributes)


def test_a_launch_of_a_sweep_that_exists(home: Path) -> None:
    begun(home)
    for change in ([], ["search.seed=4"], ["search.trials=9"]):
        spec = small_spec(*change)
        with pytest.raises(SweepExistsError) as caught:
            _refuse_existing(spec, home)
        check_all(str(caught.value), home, 2)
    with pytest.raises(SweepExistsError) as caught:
        new_study(home, small_spec())
    check_all(str(caught.value), home, 2)


@pytest.mark.parametrize("found", ["database is locked", "disk is full", "disk I/O error",
                                   "no such table schema", "table schema"])  # fmt: skip
def test_a_study_that_cannot_be_used(home: Path, found: str) -> None:
    text = str(StudyDatabaseError(f"{home}/study.db", found))
    check_all(text, home, 0)
    assert "prvr-sweep resume`" not in text
    check_all(str(StudyDatabaseError("postgresql://db/x", "gone")), None)


def test_a_sweep_whose_trials_find_no_slot_or_no_storage(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck:
        def run(self, *_: object) -> None:
            raise NothingStartsError(60.0, "a trial asks for 9 CPUs")

    with pytest.raises(NothingStartsError) as caught:
        run_sweep(small_spec(), Path("/store"), FINGERPRINT, home, executor=Stuck())  # type: ignore[arg-type]
    check_all(str(caught.value), home)
    assert "resume small --home" in str(caught.value)


def test_a_resume_without_a_trial(home: Path) -> None:
    new_study(home, small_spec())
    from orchestrator.base.errors import ResumeError
    from orchestrator.sweep.progress import SilentProgress

    with pytest.raises(ResumeError) as caught:
        resume(ResumeRequest("small", home), SilentProgress(), lambda _: None)
    check_all(str(caught.value), home)


def test_a_trial_that_is_not_named(home: Path) -> None:
    with pytest.raises(ReproductionError) as caught:
        reproduce(ReproduceRequest("small", home), lambda _: None)
    check_all(str(caught.value), home)


def test_an_outbox_that_is_lost(home: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        rebuild_outbox(home / "outbox" / "small.jsonl", begun(home), home)
    check_all(str(caught.value), home)


def test_a_report_and_one_that_cannot_be_written(home: Path) -> None:
    begun(home, data_fingerprint=FINGERPRINT, state="finished")
    findings = read_report(home, "small")
    listing = next(line for line in render(findings, "md").splitlines() if "  prvr-sweep" in line)
    check_all(f"`{listing.strip()}`", home)
    warned: list[str] = []
    publish(home, "small", "nowhere://x", ListSink(), warned.append)
    check_all(warned[0], home)


def test_mlflow_without_a_database_or_without_the_sweep(home: Path, empty_database: Path) -> None:
    store = TrackingStore.of_home(home)
    with pytest.raises(TrackingError) as missing:
        store.check_exists()
    check_all(str(missing.value), home, 2)
    (home / "mlflow.db").write_bytes(empty_database.read_bytes())
    with pytest.raises(RegistryError) as unknown:
        registered_versions(store, "small", home)
    check_all(str(unknown.value), home)
    check_all(damaged_advice(store.uri), home)


def test_a_version_that_waits_for_a_promotion(home: Path) -> None:
    version = SimpleNamespace(name="prvr-x", version=2, tags={})
    champion = SimpleNamespace(name="prvr-x", version=1, tags={"prvr.metric": "other"})
    for store in (TrackingStore.of_home(home), TrackingStore("http://mlflow:5000", None)):
        promote = command("promote", "prvr-x", "2", **store.options)
        check_all(compare_with_champion(version, champion, promote)[1], home)


def test_checkpoints_that_were_freed(home: Path) -> None:
    file = CheckpointFile(0, "/f", "last.safetensors", "last", 1)
    freed = Freed(Retention(3, (), (file,)), (file,), ())
    check_all("\n".join(gc_lines("small", home, freed, False)), home)


def test_a_port_that_is_taken(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check_all(check_ui_port(taken.getsockname()[1], home).remedy, home)


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:5000", "sqlite:////srv/my runs/m.db"])
def test_a_submission(uri: str | None) -> None:
    job = SimpleNamespace(identity="prvr-small-1", state="failed", exit_code=4)
    locations = RemoteLocations("~/my runs", None, uri)
    fields = {"address": "http://127.0.0.1:8265", "sweep": "small", "job": job, "is_new": False,
              "earlier": (job,), "locations": locations, "has_begun": True}  # fmt: skip
    sent: Any = SimpleNamespace(**fields)
    assert Submitted.__dataclass_fields__.keys() <= fields.keys()
    commands = [text for text in follow_commands(sent).values() if text.startswith("prvr-sweep")]
    for text in [*commands, summary(sent)["resume"]]:
        assert str(check(shlex.split(text)[1:])["home"]).endswith("/my runs")
    assert "prvr-sweep" in render_submission(sent)


def _literals(path: Path) -> Iterator[str]:
    """Texts in a module that are no docstrings; what is put in becomes X."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in node.values
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in docstrings | inside:
            yield str(node.value)


def test_commands_that_stand_in_texts_parse() -> None:
    """What `command` makes is complete; what is written out must be so by itself."""
    found = [
        (path.name, words)
        for package in ("orchestrator", "prvr_model")
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in _literals(path)
        for words in re.findall(r"`(prvr-sweep [^`]*)`", text)
    ]
    assert found
    for name, words in found:
        try:
            check(shlex.split(words)[1:])
        except click.UsageError as error:
            pytest.fail(f"{name}: `{words}`: {error.message}")


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        (("status", "a"), {}, "prvr-sweep status a"),
        (("status", "a b"), {"home": Path("/x y")}, "prvr-sweep status 'a b' --home '/x y'"),
        (("sync", "a"), {"tracking_uri": None, "json": True}, "prvr-sweep sync a --json"),
        (("resume", "a"), {"budget": "KEY=VALUE"}, "prvr-sweep resume a --budget KEY=VALUE"),
    ],
)
def test_a_command_is_quoted_for_a_shell(
    words: tuple[str, ...], options: dict[str, Any], expected: str
) -> None:
    assert command(*words, **options) == expected


def test_the_default_home_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("status", "a", home=DEFAULT_HOME.resolve()) == "prvr-sweep status a"

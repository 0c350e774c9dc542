"""Sending a sweep to a job server that runs nothing."""

import io
import json
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import ClusterError, LocationError, SpecError, TrackingError
from orchestrator.base.installation import code_version
from orchestrator.cluster import job_server as client
from orchestrator.commands.submission_text import follow_commands, render_submission, summary
from orchestrator.spec.loading import load_spec, read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.sweep.submit import (
    RemoteLocations,
    Submitted,
    job_command,
    submission_id,
    submit,
    write_package,
)
from prvr_model.errors import PrvrError
from tests.orchestrator.cluster.fake_job_server import FakeJobServer, fake_job_server
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, Done, command, environment

LOCATIONS = RemoteLocations("/srv/home")
TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def spec() -> SweepSpec:
    return read_spec(TINY_SPACE)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJobServer]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    # Ray's client would prefer it to the address that is named.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    # The end of a tunnel is on this machine, whatever proxy leads elsewhere.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with fake_job_server(TOKEN) as running:
        yield running


def refusal(url: str, spec: SweepSpec, locations: RemoteLocations = LOCATIONS) -> str:
    with pytest.raises(PrvrError) as caught:
        submit(url, spec, locations)
    assert isinstance(caught.value, ClusterError | LocationError | TrackingError)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_id_follows_from_what_is_sent(spec: SweepSpec) -> None:
    first = submission_id(spec, LOCATIONS)
    assert first == submission_id(read_spec(TINY_SPACE), LOCATIONS)
    assert first == submission_id(read_spec(spec.dump_yaml()), LOCATIONS)
    assert first.startswith("prvr-tiny-")
    others = {
        submission_id(read_spec(TINY_SPACE, ["search.seed=2"]), LOCATIONS),
        submission_id(read_spec(TINY_SPACE, ["name=other"]), LOCATIONS),
        submission_id(spec, RemoteLocations()),
        submission_id(spec, replace(LOCATIONS, storage="s3://bucket/runs")),
        submission_id(spec, replace(LOCATIONS, tracking_uri="http://mlflow:5000")),
    }
    assert len(others | {first}) == 6


def test_what_is_sent(server: FakeJobServer, spec: SweepSpec) -> None:
    sent = submit(server.url + "/", spec, LOCATIONS, as_json=True)
    assert sent.is_new
    assert (sent.job.identity, sent.job.state) == (submission_id(spec, LOCATIONS), "pending")
    request = server.requests[sent.job.identity]
    assert request["entrypoint"] == (
        "exec python -m orchestrator.cli launch sweep.yaml --address auto --home /srv/home --json"
    )
    environment = request["runtime_env"]
    assert environment["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
    name = environment["working_dir"].removeprefix("gcs://")
    assert set(server.packages) == {name}
    package = zipfile.ZipFile(io.BytesIO(server.packages[name]))
    assert read_spec(package.read("sweep.yaml").decode()) == spec
    top = {entry.partition("/")[0] for entry in package.namelist()}
    assert top == {"orchestrator", "prvr_model", "sweep.yaml", "code_version.txt"}
    assert not [entry for entry in package.namelist() if "__pycache__" in entry]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_the_same_is_not_sent_twice(server: FakeJobServer, spec: SweepSpec, state: str) -> None:
    first = submit(server.url, spec, LOCATIONS)
    server.add_job(first.job.identity, state)
    again = submit(server.url, spec, LOCATIONS)
    assert not again.is_new
    assert (again.job.identity, again.job.state) == (first.job.identity, state.lower())
    assert len(server.requests) == 1
    assert render_submission(again).startswith(
        f"sent before: job {first.job.identity} is {state.lower()}; nothing was sent now\n"
    )


def test_a_sweep_with_failed_trials_has_finished(server: FakeJobServer, spec: SweepSpec) -> None:
    server.add_job(submission_id(spec, LOCATIONS), "FAILED", 4)
    again = submit(server.url, spec, LOCATIONS)
    assert not again.is_new
    assert again.job.exit_code == 4
    assert "is failed (exit code 4); nothing was sent" in render_submission(again)


@pytest.mark.parametrize(
    ("state", "code", "log", "has_begun"),
    [
        ("FAILED", 2, "0/2 trials | 1 running", False),
        ("FAILED", 1, "", False),
        ("FAILED", 1, "plan\n0/2 trials | 1 running\n", True),
        ("STOPPED", None, "plan\n0/2 trials | 1 running\n", True),
        ("STOPPED", None, "plan\n", False),
        ("STOPPED", None, None, True),
    ],
)
def test_what_failed_or_was_stopped_is_sent_again(
    server: FakeJobServer,
    spec: SweepSpec,
    state: str,
    code: int | None,
    log: str | None,
    has_begun: bool,
) -> None:
    first = submission_id(spec, LOCATIONS)
    server.add_job(first, state, code)
    if log is not None:
        server.logs[first] = log
    second = submit(server.url, spec, LOCATIONS)
    assert second.is_new
    assert second.job.identity == f"{first}-2"
    assert [one.identity for one in second.earlier] == [first]
    assert second.has_begun is has_begun
    hint = "prvr-sweep resume tiny --home /srv/home --address auto"
    assert (hint in render_submission(second)) is has_begun
    assert summary(second)["resume"] == (hint if has_begun else None)
    third = submit(server.url, spec, LOCATIONS)
    assert (third.is_new, third.job.identity) == (False, f"{first}-2")


def test_somebody_sends_the_same_at_the_same_moment(server: FakeJobServer, spec: SweepSpec) -> None:
    server.add_job(submission_id(spec, LOCATIONS), "RUNNING")
    server.hides_jobs_once = True
    found = submit(server.url, spec, LOCATIONS)
    assert (found.is_new, found.job.state) == (False, "running")
    assert not server.requests


@pytest.mark.parametrize(
    "changes", [{"RAY_AUTH_TOKEN": "f" * 64}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}]
)
def test_a_wrong_token_or_none(
    server: FakeJobServer,
    spec: SweepSpec,
    changes: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    assert refusal(server.url, spec) == (
        f"the cluster at {server.url} refuses the token, or there is none; set RAY_AUTH_MODE=token "
        "and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster was started with"
    )
    assert not server.packages


def test_a_token_is_read_from_its_file(
    server: FakeJobServer, spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert submit(server.url, spec, LOCATIONS).is_new


def test_nobody_listens(spec: SweepSpec) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert refusal(url, spec) == (
        f"no Ray dashboard answers at {url} (Connection refused); is the tunnel open? `ray "
        "dashboard CLUSTER.yaml` or `ssh -N -L 8265:127.0.0.1:8265 HEAD` opens one"
    )


def test_somebody_listens_who_says_nothing(
    spec: SweepSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWER_S", 0.3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert refusal(url, spec).startswith(f"{url} gave no answer within ")


def test_somebody_answers_who_is_no_ray(server: FakeJobServer, spec: SweepSpec) -> None:
    assert refusal(f"{server.url}/elsewhere", spec).startswith(
        f"the job server at {server.url}/elsewhere refuses: Version check returned 404."
    )


@pytest.mark.parametrize(
    "url", ["ray://head:10001", "127.0.0.1:8265", "auto", "http://", "http://head:port", ""]
)
def test_what_is_no_address(url: str, spec: SweepSpec) -> None:
    assert refusal(url, spec) == (
        f"found --submit {url!r}; allowed: http://HOST:PORT or https://HOST:PORT of the head's "
        "dashboard, e.g. http://127.0.0.1:8265 through a tunnel"
    )


def test_a_token_never_goes_over_the_network_as_text(
    spec: SweepSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert refusal("http://head.invalid:8265", spec) == (
        "--submit http://head.invalid:8265: the token would go over the network as plain text; "
        "open a tunnel (`ssh -N -L 8265:127.0.0.1:8265 head.invalid`) and use --submit "
        "http://127.0.0.1:8265, or https://"
    )
    assert "no Ray dashboard answers" in refusal("https://head.invalid:8265", spec)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "no Ray dashboard answers" in refusal("http://head.invalid:8265", spec)


def test_locations_of_this_machine(spec: SweepSpec) -> None:
    url = "http://127.0.0.1:1"
    assert refusal(url, spec, RemoteLocations("runs")).startswith(
        "found --home 'runs', a path relative to this machine; allowed with --submit: an absolute "
    )
    assert refusal(url, spec, RemoteLocations(storage="runs")).startswith(
        "found --storage 'runs', a path relative to this machine; allowed with --submit: an "
    )
    assert "relative to the working directory" in refusal(
        url, spec, RemoteLocations(tracking_uri="sqlite:///mlflow.db")
    )
    # What the head alone can tell is asked of nobody here.
    for path in ("~/runs", "~ray/runs", "$SCRATCH/runs"):
        there = RemoteLocations(path, path, f"sqlite:///{path}/m.db")
        assert "no Ray dashboard answers" in refusal(url, spec, there)
    secret = RemoteLocations(tracking_uri="postgresql://me:secret@host/runs")
    message = refusal(url, spec, secret)
    assert message.startswith("--tracking-uri holds a password")
    assert "secret" not in message


def test_a_store_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(TINY_SPACE)
    for override in ("data=./mine.store", "data.store=mine.store", "data={store: mine.store}"):
        with pytest.raises(SpecError) as caught:
            load_spec(path, ["data=null", override], runs_elsewhere=True)
        assert "a path relative to this machine, which the cluster does not have" in str(
            caught.value
        )
    there = load_spec(path, ["data=/srv/mine.store"], runs_elsewhere=True)
    assert there.data.store == "/srv/mine.store"
    assert load_spec(path, runs_elsewhere=True) == load_spec(path)
    path.write_text(TINY_SPACE.replace("data:\n  synthetic:", "data:\n  store: mine.store #"))
    with pytest.raises(SpecError, match=r"space\.yaml:4: data\.store: found 'mine\.store', a path"):
        load_spec(path, runs_elsewhere=True)


def test_the_shell_of_the_head_runs_the_command(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor one in "$@"; do echo "$one"; done\nexit 3\n')
    python.chmod(0o755)
    locations = RemoteLocations("~/my runs", "s3://bucket/a b", "sqlite:////srv/it's.db")
    done = subprocess.run(
        ["/bin/sh", "-c", job_command(locations, as_json=True)],
        env={"PATH": str(tmp_path), "HOME": "/home/ray"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        *("-m", "orchestrator.cli", "launch", "sweep.yaml", "--address", "auto"),
        *("--home", "/home/ray/my runs", "--storage", "s3://bucket/a b"),
        *("--tracking-uri", "sqlite:////srv/it's.db", "--json"),
    ]


def test_the_package_is_whole_and_the_same_each_time(spec: SweepSpec, tmp_path: Path) -> None:
    write_package(tmp_path / "one.zip", spec.dump_yaml())
    write_package(tmp_path / "two.zip", spec.dump_yaml())
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(tmp_path / "one.zip").extractall(unpacked)
    found = "import orchestrator.base.installation as p; print(p.__file__, p.code_version())"
    for arguments, expected in (
        (
            ["-c", found],
            f"{unpacked / 'orchestrator' / 'base' / 'installation.py'} {code_version()}",
        ),
        (["-m", "orchestrator.cli", "plan", "sweep.yaml"], "sweep tiny: "),
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=unpacked,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        assert done.stdout.startswith(expected)


def test_how_to_follow_a_job(server: FakeJobServer, spec: SweepSpec) -> None:
    sent = submit(server.url, spec, RemoteLocations())
    job, port = sent.job.identity, server.server_address[1]
    assert (
        render_submission(sent)
        == f"""\
sent: job {job} runs sweep tiny on {server.url}
  follow     ray job logs --follow {job} --address {server.url}
  state      ray job status {job} --address {server.url}
  stop       ray job stop {job} --address {server.url}
             ends the sweep as Ctrl-C does: its study keeps all trials and checkpoints
on the head (HEAD below), where the sweep keeps its home:
  status     prvr-sweep status tiny --home ~/prvr-runs
  MLflow     prvr-sweep ui --home ~/prvr-runs
dashboard and MLflow listen on the head's loopback; to open tunnels from here:
  dashboard  ssh -N -L {port}:127.0.0.1:{port} HEAD
             (or `ray dashboard CLUSTER.yaml`, where `ray up` started it)
  MLflow     ssh -N -L 5000:127.0.0.1:5000 HEAD"""
    )


def test_where_mlflow_is(server: FakeJobServer, spec: SweepSpec) -> None:
    sent = submit(server.url, spec, LOCATIONS)
    assert follow_commands(sent)["ui"] == "prvr-sweep ui --home /srv/home"
    local = with_tracking(sent, "http://127.0.0.1:5001")
    assert follow_commands(local)["mlflow"] == "ssh -N -L 5001:127.0.0.1:5001 HEAD"
    assert "ui" not in follow_commands(local)
    far = with_tracking(sent, "https://mlflow.example")
    assert not {"ui", "mlflow"} & set(follow_commands(far))
    assert render_submission(far).endswith("  MLflow     https://mlflow.example")
    database = with_tracking(sent, "sqlite:////srv/m.db")
    assert follow_commands(database)["ui"] == (
        "prvr-sweep ui --home /srv/home --tracking-uri sqlite:////srv/m.db"
    )


def test_the_command(server: FakeJobServer, tmp_path: Path) -> None:
    done = launch(tmp_path, "--submit", server.url, "--json", PRVR_STORAGE="s3://bucket/runs")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert (answer["sent"], answer["state"], answer["sweep"]) == (True, "pending", "tiny")
    assert (answer["home"], answer["storage"]) == ("~/prvr-runs", "s3://bucket/runs")
    assert set(answer["commands"]) >= {"follow", "state", "stop", "dashboard", "mlflow"}
    server.add_job(answer["job"], "FAILED", 4)
    again = launch(tmp_path, "--submit", server.url, PRVR_STORAGE="s3://bucket/runs")
    assert again.code == 4
    assert again.out.startswith("sent before: ")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    done = launch(tmp_path, "--submit", "http://127.0.0.1:1", "--address", "auto")
    assert done.code == 2
    assert "leave out --address or --submit" in done.err
    done = launch(tmp_path, "--submit", "http://127.0.0.1:1", "--executor", "inline")
    assert done.code == 2
    assert "--executor inline runs in this process" in done.err


def launch(folder: Path, *arguments: str, **changes: str) -> Done:
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    done = subprocess.run(
        command("launch", "tiny.yaml", *arguments),
        cwd=folder,
        env={**environment(), **changes},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def with_tracking(sent: Submitted, uri: str) -> Submitted:
    return replace(sent, locations=replace(sent.locations, tracking_uri=uri))

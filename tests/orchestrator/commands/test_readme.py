"""Every command of the README runs, in the order in which a reader would run them."""

import re
import shlex
import signal
import subprocess
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.orchestrator.command_line import ROOT, TIMEOUT_S, command, environment, prvr
from tests.prvr_model.store.corpora import tiny_corpus

pytestmark = pytest.mark.integration

# What sets up, and the tests themselves, which cannot run inside of themselves. `make sweep` is
# set-up and the launch of the main job, which is here too.
_SET_UP = ("make ",)


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(_SET_UP)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's working directory: the search spaces of the checkout and a small corpus."""
    path = tmp_path_factory.mktemp("readme")
    (path / "search_spaces").symlink_to(ROOT / "search_spaces")
    videos = {split: [f"{split}{one}" for one in range(8)] for split in ("train", "val", "test")}
    corpus = tiny_corpus(videos)
    corpus.name = "tvr"
    corpus.write(path / "my_features")
    return path


def test_commands_of_the_readme_run_in_order(folder: Path) -> None:
    commands = readme_commands()
    assert len(commands) >= 10
    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "prvr-sweep", line
        if arguments[0] == "ui":
            _check_ui(arguments, folder)
            continue
        done = prvr(*arguments, cwd=folder)
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"


def test_make_sweep_is_the_main_job() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "sweep"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "prvr-sweep launch search_spaces/cbva.yaml" in recipe


def _check_ui(arguments: list[str], folder: Path) -> None:
    server = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert _answers("http://127.0.0.1:5000/", server)
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(TIMEOUT_S)
    assert code == 0


def _answers(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Whether the page comes before the server ends."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return bool(page.status == 200)
        except (URLError, ConnectionError):
            # Not listening yet; the wait for the process is the pause between two tries.
            try:
                server.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    return False

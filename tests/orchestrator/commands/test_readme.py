"""Every command of every README runs, in the order in which a reader would run them."""

import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import click
import pytest

from orchestrator.cli import cli
from orchestrator.spec.objectives import COSTS
from tests.locations import ROOT
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, command, environment, prvr
from tests.orchestrator.spec.spec_texts import SPEC, spec_of
from tests.prvr_model.store.corpora import tiny_corpus

PAGES = (
    "README.md",
    "search_spaces/README.md",
    "cluster/README.md",
    "orchestrator/README.md",
    "orchestrator/serving/README.md",
)
# What sets up, and the tests themselves, which cannot run inside of themselves. `make sweep` is
# set-up and the launch of the main job, which is here too.
_SET_UP = ("make ",)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands_of(page: str) -> list[str]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    shown = [line.removeprefix("$ ") for line in lines]
    return [line for line in shown if not line.startswith(_SET_UP)]


def mentioned() -> Iterator[tuple[str, str]]:
    """Each command line that any page shows, also where no test can run it (clusters)."""
    for page in PAGES:
        for line in (ROOT / page).read_text().splitlines():
            shown = line.strip().removeprefix("$ ").partition(" #")[0]
            if shown.startswith("prvr-sweep ") and not shown.endswith("\\"):
                yield page, shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's working directory: the folders of the checkout and a small corpus."""
    path = tmp_path_factory.mktemp("readme")
    for name in ("search_spaces", "cluster"):
        (path / name).symlink_to(ROOT / name)
    splits = ("train", "val", "test")
    corpus = tiny_corpus({split: [f"{split}{number}" for number in range(8)] for split in splits})
    corpus.name = "tvr"
    corpus.write(path / "my_features")
    (path / "tiny.yaml").write_text(TINY_SPACE)
    return path


@pytest.mark.parametrize(("page", "line"), [*mentioned()])
def test_a_command_that_is_shown_has_these_options(page: str, line: str) -> None:
    """Parsed and not run: no page shows an option that is gone."""
    name, *arguments = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    context = click.Context(cli)
    found = cli.get_command(context, name)
    assert found is not None, f"{page}: {line}"
    if isinstance(found, click.Group):
        name, *arguments = arguments
        found = found.get_command(context, name)
        assert found is not None, f"{page}: {line}"
    try:
        found.make_context(name, arguments, resilient_parsing=False)
    except click.BadParameter as error:
        # A file of the reader's that is not here; options and values are known.
        if "does not exist" not in str(error):
            raise


@pytest.mark.soak
def test_commands_of_the_pages_run_in_order(folder: Path) -> None:
    lines = [line for page in PAGES for line in commands_of(page)]
    assert len(lines) >= 20
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "prvr-sweep", line
        if arguments[0] == "ui":
            _check_ui(arguments, folder)
            continue
        done = prvr(*arguments, cwd=folder)
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
    _run_python("README.md", folder)


@pytest.mark.soak
def test_the_example_of_the_python_api_runs(folder: Path) -> None:
    assert "orchestrator.launch" in blocks("orchestrator/README.md", "python")[0]
    assert "val/SumR" in _run_python("orchestrator/README.md", folder)


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_pictures_and_links_of_the_pages_exist() -> None:
    for page in (*PAGES, "tests/benchmarks/README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_the_example_of_several_objectives_is_a_search() -> None:
    page = "search_spaces/README.md"
    (example,) = [block for block in blocks(page, "yaml") if "objectives:" in block]
    spec = spec_of(text=SPEC + example)
    assert [goal.metric for goal in spec.objectives] == ["val/SumR", "cost/bytes_per_video"]
    assert (list(spec.limits.values()), spec.crown) == ([30000.0, 5.0], "knee")
    assert all(cost in (ROOT / page).read_text() for cost in COSTS)


def test_make_sweep_is_the_main_job() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "sweep"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "prvr-sweep launch search_spaces/cbva.yaml" in recipe


def _run_python(page: str, folder: Path) -> str:
    shown = ""
    for block in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        shown += done.stdout
    return shown


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

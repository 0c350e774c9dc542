"""Every command works in a home of any name, and writes nowhere else."""

from pathlib import Path

import pytest

from orchestrator import cli
from tests.orchestrator.command_line import TINY_SPACE

# All that is odd, in as few sweeps.
NAMES = (
    "runs #3 what? My%20Drive {x} a'b\"c;d&e [a]* %(here)s 100% 文字 😀 -",
    "line\nbreak\tand\x01\\ a:b@c $5 " + "x" * 150,
)
COMMANDS = (
    ["plan", "{space}"],
    ["launch", "{space}", "--executor", "inline"],
    ["status", "tiny"],
    ["report", "tiny", "--format", "html"],
    ["sync", "tiny"],
    ["resume", "tiny"],
    ["launch", "{space}", "--executor", "inline", "--set", "name=again"],
    ["reproduce", "tiny/0", "--epochs", "1"],
    ["gc", "tiny", "--dry-run"],
    ["gc", "tiny"],
    ["promote", "prvr-synthetic", "1"],
    ["doctor"],
)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_all_commands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("cwd", "homes"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY_SPACE)
    home = tmp_path / "homes" / name / "runs"
    for command in COMMANDS:
        filled = [part.format(space=space) for part in command]
        assert cli.run([*filled, "--home", str(home)]) == 0, (command, capsys.readouterr().err)
    capsys.readouterr()
    assert cli.run(["status", "again", "--home", str(home)]) == 0
    assert "2 not trained; their results are copied from tiny" in capsys.readouterr().out
    assert list((tmp_path / "cwd").iterdir()) == []
    assert list((tmp_path / "homes").iterdir()) == [home.parent]
    assert list(home.parent.iterdir()) == [home]
    files = {path.name for path in home.iterdir() if path.is_file()}
    assert files == {"study.db", "mlflow.db", "lock"}
    assert not list(home.rglob("*partial*"))

"""Compiles a report's LaTeX, where there is a compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest


def compiled(text: str, folder: Path) -> str:
    """What pdflatex said of a file that it could compile."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex, which is not on this machine")
    (folder / "report.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert (folder / "report.pdf").stat().st_size > 10_000
    return said

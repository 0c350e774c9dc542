"""A Python with everything that is installed here except this project, as on a cluster's nodes."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

_OURS = ("orchestrator", "prvr_model", "prvr_sweep", "__editable__")


def bare_python(folder: Path) -> Path:
    """Make the environment; gives its interpreter, beside which lies one named `python`."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True
    )
    python = folder / "bin" / "python"
    packages = _site_packages(python)
    for installed in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(installed).iterdir():
            # A .pth file is how an editable install reaches back to a checkout.
            if not entry.name.startswith(_OURS) and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry)
    return python


def stale_packages(folder: Path) -> Path:
    """A folder with another version of the project, which cannot be imported; gives the folder."""
    for name in ("orchestrator", "prvr_model"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('a stale {name}')\n")
    return folder


def can_import(python: Path, module: str, cwd: Path) -> bool:
    """Whether this interpreter by itself finds a module."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return not subprocess.run(
        [python, "-c", f"import {module}"], cwd=cwd, env=clean, capture_output=True, check=False
    ).returncode


def _site_packages(python: Path) -> Path:
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(found.stdout.strip())

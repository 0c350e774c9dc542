"""A PostgreSQL server of a test or a benchmark, from the system's package, on 127.0.0.1."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

# The server refuses to run as root; Debian's package makes this user.
_USER = "postgres"


def why_not() -> str | None:
    """What is missing for a server; None if nothing is."""
    if _programs() is None:
        return "needs PostgreSQL, which is not on this machine (apt-get install postgresql)"
    if find_spec("psycopg2") is None:
        return "needs psycopg2, which is not installed"
    if os.geteuid() == 0 and not _is_user(_USER):
        return f"needs the user {_USER}, since PostgreSQL does not run as root"
    return None


@contextmanager
def postgres_server() -> Iterator[str]:
    """Address of a new, empty database; the server and its files are gone after the block."""
    programs = _programs()
    assert programs is not None, why_not()
    # Not below a test's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
    data = folder / "data"
    port = _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    try:
        _run(programs / "initdb", "-D", data, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-sync")
        try:
            log = folder / "log"
            _run(programs / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
            yield f"postgresql+psycopg2://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            if (data / "postmaster.pid").exists():
                _run(programs / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Folder of the server's programs, which Debian keeps out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(path).resolve().parent if path else None


def _version(initdb: Path) -> float:
    return float(initdb.parent.parent.name)


def _is_user(name: str) -> bool:
    return any(user.pw_name == name for user in pwd.getpwall())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(*command: str | Path) -> None:
    user = _USER if os.geteuid() == 0 else None
    done = subprocess.run(
        list(map(str, command)),
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}")

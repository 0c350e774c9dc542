"""Sends a sweep to a cluster as a Ray job, which continues when this machine is off.

The job runs `prvr-sweep launch --address auto` on the cluster's head. Its id is a digest of the
sweep and its locations, so that a sweep that is submitted twice runs once.

A zip with this package and the resolved spec travels with the job and is unpacked as its working
directory, on the head and on every node: the nodes need the dependencies alone, and a version that
is installed on them is not used.
"""

import hashlib
import ipaddress
import json
import os
import re
import shlex
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from orchestrator.base.errors import FINISHED_WITH_FAILURES, ClusterError, LocationError
from orchestrator.base.installation import VERSION_FILE, code_version
from orchestrator.base.our_code import COMMAND_LINE, PACKAGES, ROOT
from orchestrator.cluster.ray_environment import loading_ray
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.tracking.store import TrackingStore
from prvr_model.files.location import is_uri

if TYPE_CHECKING:
    from orchestrator.cluster.job_server import Job, JobServer

# Ray deletes a job's working directory when the job ends, so the home must lie elsewhere.
REMOTE_HOME = "~/prvr-runs"
# Beginnings of paths that do not depend on this machine: the head knows its users and variables.
_ON_HEAD = ("/", "~", "$")

# 48 bits: two sweeps of one name share a digest only among millions.
_DIGEST_DIGITS = 12
# Ray kills a job 3 s after it was told to stop; a sweep ends within ten, with its trials saved.
_STOP_S = 30
_REFUSED_CODES = (2, 3)
# What `LogProgress` shows when the first trial has started.
_PROGRESS = re.compile(r"^\d+/\d+ trials \| ", re.MULTILINE)


@dataclass(frozen=True)
class RemoteLocations:
    """Where a sweep keeps things, as seen from the cluster's head.

    Args:
        home: Absolute path on the head, or one that starts with `~/`.
        storage: URI or absolute path; None: PRVR_STORAGE on the head, or the home.
        tracking_uri: URI of MLflow; None: PRVR_TRACKING_URI on the head, or the home's database.
    """

    home: str = REMOTE_HOME
    storage: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Submitted:
    """The outcome of a submission.

    Args:
        address: Address of the head's dashboard.
        sweep: Its name.
        locations: Where the sweep keeps things.
        job: The job, new or found.
        is_new: Whether it was sent now.
        earlier: Jobs of the same content that failed or were stopped, oldest first.
        has_begun: Whether one of the earlier jobs had started trials.
    """

    address: str
    sweep: str
    locations: RemoteLocations
    job: "Job"
    is_new: bool
    earlier: tuple["Job", ...]
    has_begun: bool


def submit(
    address: str, spec: SweepSpec | JointSpec, locations: RemoteLocations, as_json: bool = False
) -> Submitted:
    """Send a sweep, unless the cluster has its job already.

    Args:
        address: Address of the head's dashboard, `http(s)://HOST:PORT`.
        spec: The sweep, with paths as they are on the cluster.
        locations: Where it keeps things.
        as_json: Whether the job's last line is to be JSON.

    Raises:
        ClusterError: The address is invalid, nothing answers at it, or the job is refused.
        LocationError: A location is relative to this machine, or holds a password.
        TrackingError: MLflow cannot use the tracking URI.
    """
    url = _checked_address(address)
    _check_locations(locations)
    with loading_ray():
        from orchestrator.cluster.job_server import job_server

    first = submission_id(spec, locations)
    with job_server(url) as server, tempfile.TemporaryDirectory(prefix="prvr-") as folder:
        earlier: list[Job] = []
        for number in count(1):
            identity = first if number == 1 else f"{first}-{number}"
            job, is_new = _found_or_sent(server, identity, spec, locations, as_json, Path(folder))
            if is_new or not _may_be_sent_again(job):
                break
            earlier.append(job)
        begun = any(_has_begun(server, earlier_job) for earlier_job in earlier)
    return Submitted(url, spec.name, locations, job, is_new, tuple(earlier), begun)


def submission_id(spec: SweepSpec | JointSpec, locations: RemoteLocations) -> str:
    """Id of the job, equal for the same sweep and locations, e.g. `prvr-cbva-0123456789ab`."""
    content = [spec.dump_yaml(), locations.home, locations.storage, locations.tracking_uri]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"prvr-{spec.name}-{digest}"


def job_command(locations: RemoteLocations, as_json: bool = False) -> str:
    """What the head's shell runs in the unpacked package."""
    options = [f"--home {_quoted_home(locations.home)}"]
    if locations.storage is not None:
        options.append(f"--storage {shlex.quote(locations.storage)}")
    if locations.tracking_uri is not None:
        options.append(f"--tracking-uri {shlex.quote(locations.tracking_uri)}")
    if as_json:
        options.append("--json")
    # exec: the job's exit code is the sweep's, and its signals reach it.
    return f"exec python -m {COMMAND_LINE} launch {SPEC_FILE} --address auto {' '.join(options)}"


def job_variables() -> dict[str, str]:
    """Environment of the job."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)}


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _found_or_sent(
    server: "JobServer",
    identity: str,
    spec: SweepSpec | JointSpec,
    locations: RemoteLocations,
    as_json: bool,
    folder: Path,
) -> tuple["Job", bool]:
    """The job of this id, and whether it was sent now."""
    from orchestrator.cluster.job_server import Job

    if (there := server.jobs().get(identity)) is not None:
        return there, False
    package = folder / "package.zip"
    write_package(package, spec.dump_yaml())
    try:
        server.send(identity, job_command(locations, as_json), package, job_variables())
    except ClusterError:
        # Another process may have sent the same job at the same moment.
        if (there := server.jobs().get(identity)) is None:
            raise
        return there, False
    return Job(identity, "pending"), True


def _may_be_sent_again(job: "Job") -> bool:
    """Whether a job ended before its sweep finished; a sweep with failed trials has finished."""
    if job.state == "stopped":
        return True
    return job.state == "failed" and job.exit_code != FINISHED_WITH_FAILURES


def _has_begun(server: "JobServer", job: "Job") -> bool:
    """Whether a job that has ended had started trials; True if its log is gone."""
    if job.exit_code in _REFUSED_CODES:
        return False
    try:
        return _PROGRESS.search(server.log(job.identity)) is not None
    except ClusterError:
        return True


def _quoted_home(home: str) -> str:
    if home.startswith("~/"):
        return f'"$HOME"/{shlex.quote(home[2:])}'
    return shlex.quote(home)


def _checked_address(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """The address without a slash at its end, refused if a token would not be safe on the way.

    Raises:
        ClusterError: It is no address of a dashboard, or a token would travel as plain text.
    """
    url = _split(address)
    if url is None or url.scheme not in ("http", "https") or url.hostname is None or url.query:
        raise ClusterError(
            f"found --submit {address!r}; allowed: http://HOST:PORT or https://HOST:PORT of the "
            "head's dashboard, e.g. http://127.0.0.1:8265 through a tunnel"
        )
    has_token = environment.get("RAY_AUTH_MODE", "").lower() == "token"
    if has_token and url.scheme == "http" and not is_loopback(url.hostname):
        port = url.port or 80
        raise ClusterError(
            f"--submit {address}: the token would go over the network as plain text; open a tunnel "
            f"(`ssh -N -L {port}:127.0.0.1:{port} {url.hostname}`) and use "
            f"--submit http://127.0.0.1:{port}, or https://"
        )
    return address.rstrip("/")


def _split(address: str) -> SplitResult | None:
    try:
        url = urlsplit(address)
        _ = url.port  # parsed when it is read: an invalid port raises here
    except ValueError:
        return None
    return url


def _check_locations(locations: RemoteLocations) -> None:
    if not locations.home.startswith(_ON_HEAD):
        raise LocationError(
            f"found --home {locations.home!r}, a path relative to this machine; allowed with "
            "--submit: an absolute path on the cluster's head, or a quoted '~/...'; default: "
            f"{REMOTE_HOME}"
        )
    storage = locations.storage
    if storage is not None and not storage.startswith(_ON_HEAD) and not is_uri(storage):
        raise LocationError(
            f"found --storage {storage!r}, a path relative to this machine; allowed with --submit: "
            "an absolute path that is the same on all nodes of the cluster, or a URI such as "
            "s3://bucket/runs"
        )
    if not {*_ON_HEAD[1:]} & {*(locations.tracking_uri or "")}:
        TrackingStore.of(locations.tracking_uri, Path("/"))
    for option, name, uri in (
        ("--storage", "PRVR_STORAGE", storage),
        ("--tracking-uri", "PRVR_TRACKING_URI", locations.tracking_uri),
    ):
        if uri is not None and _has_password(uri):
            raise LocationError(
                f"{option} holds a password, and the command of a job is shown in the cluster's "
                f"dashboard and logs; set {name} in the head's environment instead, and leave "
                f"{option} out"
            )


def _has_password(uri: str) -> bool:
    url = _split(uri)
    return url is not None and url.password is not None


SPEC_FILE = "sweep.yaml"
# The oldest date that a zip can hold. A fixed date makes equal content an equal file, sent once.
_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16


def write_package(path: Path, spec_yaml: str, root: Path = ROOT) -> None:
    """Write the zip; the same content gives the same bytes.

    Args:
        path: The file.
        spec_yaml: The resolved spec.
        root: Folder that holds the packages, a checkout or `site-packages`.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for source in _sources(root):
            _add(package, source.relative_to(root).as_posix(), source.read_bytes())
        _add(package, VERSION_FILE, code_version().encode())
        _add(package, SPEC_FILE, spec_yaml.encode())


def _sources(root: Path) -> Iterator[Path]:
    for name in PACKAGES:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _add(package: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _READABLE
    package.writestr(entry, content)

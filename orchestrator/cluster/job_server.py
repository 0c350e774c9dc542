"""Ray's job server on a cluster's head: lists its jobs and sends new ones.

Uses Ray's own client, with time limits, and turns its errors into ours.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import ClusterError, RayChangedError
from orchestrator.cluster.ray_environment import direct_variables, environment, quiet

try:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient
    from requests import ReadTimeout  # with which Ray's client asks
except ImportError as error:
    raise RayChangedError(str(error)) from error

# A tunnel that is closed refuses at once; a firewall stays silent.
_CONNECT_S = 5.0
# The server starts an agent for its first job, and unpacks the package.
_ANSWER_S = 60.0
# They set their own level, and would report each upload on stderr.
_TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")


@dataclass(frozen=True)
class Job:
    """A job on the server.

    Args:
        identity: Its submission id.
        state: `pending`, `running`, `succeeded`, `failed` or `stopped`.
        exit_code: Exit code of its command; None: it still runs, or was stopped.
        message: What Ray says about its end.
    """

    identity: str
    state: str
    exit_code: int | None = None
    message: str = ""


class JobServer:
    """The job server at an address; see `job_server`."""

    def __init__(self, client: "_Client") -> None:
        self._client = client

    def jobs(self) -> dict[str, Job]:
        """All jobs that were submitted since the cluster started, by submission id.

        Raises:
            ClusterError: The server does not answer, or refuses.
        """
        with self._errors():
            found = [job for job in self._client.list_jobs() if job.submission_id]
        return {
            job.submission_id: Job(
                job.submission_id,
                str(job.status.value).lower(),
                job.driver_exit_code,
                job.message or "",
            )
            for job in found
        }

    def send(
        self, identity: str, command: str, package: Path, variables: Mapping[str, str]
    ) -> None:
        """Send a job, which starts on the head.

        Args:
            identity: Its submission id, which no other job has.
            command: Command for the head's shell, run in the unpacked package.
            package: A zip file.
            variables: Environment of the job and of all that it starts.

        Raises:
            ClusterError: The server does not answer, or refuses.
        """
        with self._errors():
            self._client.submit_job(
                entrypoint=command,
                submission_id=identity,
                runtime_env={"working_dir": str(package), "env_vars": dict(variables)},
            )

    def log(self, identity: str) -> str:
        """What a job has printed so far.

        Raises:
            ClusterError: The server does not answer, or the log is gone.
        """
        with self._errors():
            return str(self._client.get_job_logs(identity))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _as_ours(self._client.get_address()):
            yield


@contextmanager
def job_server(address: str) -> Iterator[JobServer]:
    """The job server at `http(s)://HOST:PORT`; authentication comes from the environment.

    Raises:
        ClusterError: Nothing answers there, or it requires another token.
    """
    # By itself, Ray's client would prefer an address of the environment to ours.
    variables = {"RAY_API_SERVER_ADDRESS": address, **direct_variables()}
    with environment(variables), quiet(), _silent():
        with _as_ours(address):
            client = _Client(address)
        yield JobServer(client)


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client with time limits."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:  # noqa: ANN401
        limits = (_CONNECT_S, _ANSWER_S)
        return super()._do_request(method, endpoint, timeout=limits, **options)


if not hasattr(JobSubmissionClient, "_do_request"):
    raise RayChangedError("JobSubmissionClient._do_request")


@contextmanager
def _as_ours(address: str) -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"the cluster at {address} refuses the token, or there is none; set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster "
            "was started with"
        ) from error
    except ReadTimeout as error:
        raise ClusterError(
            f"{address} gave no answer within {_ANSWER_S:.0f} s, but may still carry out the "
            "request: run the command again"
        ) from error
    except OSError as error:  # the HTTP library's errors are some, too
        raise ClusterError(
            f"no Ray dashboard answers at {address} ({_reason(error)}); is the tunnel open? "
            "`ray dashboard CLUSTER.yaml` or `ssh -N -L 8265:127.0.0.1:8265 HEAD` opens one"
        ) from error
    except (RuntimeError, KeyError, ValueError) as error:
        raise ClusterError(f"the job server at {address} refuses: {_first_line(error)}") from error


def _reason(error: OSError) -> str:
    """The text of the innermost error; the HTTP library wraps it several times."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return getattr(inner, "strerror", None) or _first_line(inner)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A server's own error comes as a traceback, whose last line says what it was.
    return (lines[-1] if len(lines) > 1 else lines[0]) if lines else type(error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

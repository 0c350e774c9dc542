"""A job server on loopback that keeps what it is sent and runs nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_POLL_S = 0.02
_VERSION = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": "session"}


class FakeJobServer(ThreadingHTTPServer):
    """Jobs as the REST interface shows them; a test may change them.

    Args:
        token: What clients must bring; None: nothing.
    """

    daemon_threads = True

    def __init__(self, token: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.logs: dict[str, str] = {}
        self.hides_jobs_once = False

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add_job(self, identity: str, status: str, exit_code: int | None = None) -> None:
        """A job that somebody has sent, or another state of it."""
        self.jobs[identity] = {
            "type": "SUBMISSION",
            "submission_id": identity,
            "status": status,
            "entrypoint": "",
            "message": "",
            "driver_exit_code": exit_code,
        }


@contextmanager
def fake_job_server(token: str | None = None) -> Iterator[FakeJobServer]:
    """The server for as long as the block runs."""
    with FakeJobServer(token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeJobServer

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        parts = self.path.strip("/").split("/")
        if parts == ["api", "version"]:
            self._answer(200, _VERSION)
        elif parts == ["api", "jobs"]:
            hidden, self.server.hides_jobs_once = self.server.hides_jobs_once, False
            self._answer(200, [] if hidden else list(self.server.jobs.values()))
        elif parts[:2] == ["api", "packages"]:
            self._answer(200 if parts[-1] in self.server.packages else 404, {})
        elif parts[-1] == "logs" and parts[2] in self.server.logs:
            self._answer(200, {"logs": self.server.logs[parts[2]]})
        else:
            self._answer(404, {})

    def do_PUT(self) -> None:
        if self._is_allowed():
            self.server.packages[self.path.rpartition("/")[2]] = self._body()
            self._answer(200, {})

    def do_POST(self) -> None:
        if not self._is_allowed():
            return
        request = json.loads(self._body())
        identity = request["submission_id"]
        if identity in self.server.jobs:
            text = f"Traceback:\nValueError: Job with submission_id {identity} already exists."
            self._answer(400, text)
            return
        self.server.requests[identity] = request
        self.server.add_job(identity, "PENDING")
        self._answer(200, {"job_id": identity, "submission_id": identity})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _is_allowed(self) -> bool:
        given = self.headers.get("Authorization")
        if self.server.token is None or given == f"Bearer {self.server.token}":
            return True
        self._body()
        self._answer(403 if given else 401, "Forbidden" if given else "Unauthorized")
        return False

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: object) -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

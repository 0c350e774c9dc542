"""Each thing that keeps an MLflow server or a database from answering has its own sentence."""

import http.server
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from requests.exceptions import InvalidSchema
from sqlalchemy.exc import OperationalError

from orchestrator import cli
from orchestrator.base.errors import TrackingOutageError
from orchestrator.preflight.check_tracking import check_tracking
from orchestrator.tracking.faults import fault_of, outage_text
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import promote
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore

Serve = Callable[..., str]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_PROXIES, *map(str.upper, _PROXIES), *_CREDENTIALS):
        monkeypatch.delenv(name, raising=False)
    # A second attempt only takes time.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives one answer to everything but `/version`."""
    servers: list[http.server.HTTPServer] = []

    def start(
        code: int, body: str, version: str | None = None, tls: ssl.SSLContext | None = None
    ) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_version = version is not None and self.path.endswith("/version")
                content = (str(version) if is_version else body).encode()
                self.send_response(200 if is_version else code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def said_by_promote(uri: str) -> str:
    """As MLflow's client finds it."""
    with pytest.raises(TrackingOutageError) as caught:
        promote(TrackingStore(uri, None), "prvr-x", "1")
    return str(caught.value)


def said_by_doctor(uri: str, home: Path) -> str:
    found = check_tracking(uri, home)
    assert found.level == "problem"
    return f"{found.message}; {found.remedy}"


_HOST = "Invalid Host header - possible DNS rebinding attack detected"
_DENIED = '{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
_UNKNOWN = '{"error_code": "ENDPOINT_NOT_FOUND", "message": "no such endpoint"}'
_ANSWERS = [
    (200, "<html><title>Jupyter Server</title>", "not as an MLflow server: a page 'Jupyter Server'",
     "correct the port or path"),
    (404, "<html>nginx</html>", "not as an MLflow server", "correct the port or path"),
    (404, '{"detail": "Not Found"}', "not as an MLflow server", "correct the port or path"),
    (401, "You are not authenticated", "it answers 401 (Unauthorized): it asks for a user or a ",
     "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
    (403, _HOST, "it refuses the host name 127.0.0.1:", "--allowed-hosts '127.0.0.1,127.0.0.1:*'"),
    (403, _DENIED, "answers 403 (Forbidden): who has no name may not do this", "owner grant it"),
    (302, "", "answers 302 (Found): it sends elsewhere, as a login page does", "behind the login"),
    (405, "<html>", "not as an MLflow server", "correct the port or path"),
    (501, "<html>Unsupported method", "not as an MLflow server", "correct the port or path"),
    (429, "", "answers 429 (Too Many Requests): it refuses the request", "server's log"),
    (503, "", "answers 503 (Service Unavailable): it, or the database behind it, is not ready",
     "server's log"),
    (502, "<html>", "answers 502 (Bad Gateway): a gateway answers", "server's log"),
    (500, "{}", "answers 500 (Internal Server Error): it has failed", "server's log"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "body", "found", "remedy"), _ANSWERS)
def test_what_a_server_answers_has_a_sentence_and_a_remedy(
    serve: Serve, tmp_path: Path, code: int, body: str, found: str, remedy: str
) -> None:
    uri = serve(code, body)
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert found in said
        assert remedy in said
        assert "HTTPConnection" not in said


def test_the_host_check_is_noticed_where_the_version_is_told_to_everybody(
    serve: Serve, tmp_path: Path
) -> None:
    assert "it refuses the host name" in said_by_doctor(serve(403, _HOST, "3.17.0"), tmp_path)


@pytest.mark.parametrize("body", [_UNKNOWN, "<html>404</html>"])
def test_a_server_of_another_version(serve: Serve, body: str) -> None:
    said = said_by_promote(serve(404, body, version="1.30.0"))
    assert "it is MLflow 1.30.0, which does not know a request of MLflow 3." in said
    assert "run the server with MLflow 3." in said


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "x"},
         "it refuses the user ada or the password"),
        ({"MLFLOW_TRACKING_TOKEN": "x"}, "it refuses the token of MLFLOW_TRACKING_TOKEN"),
    ],
)  # fmt: skip
def test_credentials_that_are_refused_are_named(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    who: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    uri = serve(401, "")
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert who in said


def test_a_server_that_is_down(nobody: str, tmp_path: Path) -> None:
    for said in (said_by_promote(nobody), said_by_doctor(nobody, tmp_path)):
        assert "it cannot be reached (Connection refused)" in said
        assert "start it (`mlflow server`), or correct --tracking-uri" in said


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    uri = "http://nowhere.invalid:5000"
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "it cannot be reached (the name nowhere.invalid does not resolve)" in said


@pytest.mark.parametrize("uri", ["http://127.0.0.1:99999", "http://my host:5000"])
def test_what_is_no_address(uri: str, tmp_path: Path) -> None:
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "it is no address of a server; write --tracking-uri http://HOST:PORT" in said


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_that_is_down_is_named_with_its_variable(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://ada:secret@127.0.0.1:9")
    uri = serve(200, "{}", "3.17.0")
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        through = f"through the proxy 127.0.0.1:9 of {variable}"
        assert f"it cannot be reached (Connection refused), {through}" in said
        assert "set no_proxy=127.0.0.1 to go without it" in said
        assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    assert "set NO_PROXY=10.0.0.0/8,127.0.0.1 to go" in said_by_promote(uri)
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.1")
    assert check_tracking(uri, tmp_path).level == "ok"


def test_what_a_proxy_answers_is_not_taken_for_the_servers_answer(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(503, "<html>squid")
    monkeypatch.setenv("http_proxy", proxy)
    for said in (said_by_promote("http://10.9.9.9:5000"),
                 said_by_doctor("http://10.9.9.9:5000", tmp_path)):  # fmt: skip
        assert "it answers 503 (Service Unavailable)" in said
        assert f"through the proxy {proxy.removeprefix('http://')} of http_proxy" in said
        assert "set no_proxy=10.9.9.9" in said


def test_a_socks_proxy_needs_a_package(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", _without_socks)
    uri = serve(200, "{}")
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "the package PySocks is missing, through the proxy 127.0.0.1:9 of all_proxy" in said
        assert 'set no_proxy=127.0.0.1 to go without it, or install it (`pip install "re' in said


def _without_socks(*_: object, **__: object) -> None:
    raise InvalidSchema("Missing dependencies for SOCKS support.")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `other` that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out",
         str(cert), "-days", "2", "-subj", "/CN=other", "-addext", "subjectAltName=DNS:other"],
        capture_output=True, check=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def test_certificates_that_are_not_trusted_or_of_another_name(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    file, context = certificate
    uri = serve(200, "{}", "3.17.0", context)
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "its certificate is not trusted (self-signed certificate)" in said
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH=FILE" in said
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(file))
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "its certificate is for another name (IP address mismatch" in said
    plain = uri.replace("https", "http")
    for said in (said_by_promote(plain), said_by_doctor(plain, tmp_path)):
        assert "it gives no answer in HTTP (" in said
        assert "Error" not in said
        assert "write https:// if it wants TLS" in said


def test_https_where_http_is_spoken(serve: Serve, tmp_path: Path) -> None:
    uri = serve(200, "{}").replace("http", "https")
    for said in (said_by_promote(uri), said_by_doctor(uri, tmp_path)):
        assert "it does not speak TLS; write http:// instead of https://" in said


def test_a_sender_says_the_same(nobody: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "s.jsonl")
    told: list[str] = []
    sender = mlflow_sender(outbox, TrackingStore(nobody, None), "data", told.append)
    sender._first_answer_s = 60
    sender.start()
    sender.stop(0)
    outbox.close()
    (line,) = told
    assert line.startswith(
        f"MLflow at {nobody} does not take results: it cannot be reached (Connection refused); "
        "start it (`mlflow server`), or correct --tracking-uri; trials continue"
    )


_AT = 'connection to server at "db" (10.0.0.7), port 5432 failed: '
_URI = "postgresql://ada:secret@db:5432/runs"


@pytest.mark.parametrize(
    ("words", "found", "remedy"),
    [
        ('could not translate host name "db" to address: Name or service not known',
         "the name of its host does not resolve", "correct --tracking-uri"),
        (f"{_AT}Connection refused\n\tIs the server running on that host?",
         "it cannot be reached (nothing listens at db:5432)", "start the database server"),
        (f"{_AT}timeout expired", "no answer in time from db:5432", "firewall"),
        (f'{_AT}FATAL:  password authentication failed for user "ada"',
         "it refuses the user ada or the password", "correct them"),
        (f'{_AT}FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "ada"',
         "it does not let the user ada in from this machine", "pg_hba.conf"),
        (f'{_AT}FATAL:  database "runs" does not exist', "it has no database runs",
         "`createdb runs`"),
        (f'{_AT}FATAL:  role "ada" does not exist', "it does not know the user ada", "correct"),
        (f"{_AT}FATAL:  sorry, too many clients already", "it has no connection left",
         "max_connections"),
        ("permission denied for schema public", "the user ada may not do this in the database runs",
         "grant it"),
    ],
)  # fmt: skip
def test_a_database_server_that_refuses(words: str, found: str, remedy: str) -> None:
    fault = fault_of(OperationalError("SELECT 1", {}, Exception(words)), _URI)
    assert fault.found == found
    assert remedy in fault.remedy
    assert "secret" not in outage_text(OperationalError("", {}, Exception(words)), _URI)


@pytest.mark.parametrize("command", [["promote", "prvr-x", "1"], ["doctor"]])
def test_a_driver_that_is_not_installed_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    home = tmp_path / "home"
    uri = _URI.replace("postgresql", "postgresql+psycopg2")
    code = cli.run([*command, "--home", str(home), "--tracking-uri", uri])
    written = capsys.readouterr()
    said = written.out + written.err
    assert code != 0
    assert "the driver psycopg2 for postgresql+psycopg2 is not installed" in said
    assert "`pip install psycopg2-binary`" in said
    assert "secret" not in said
    assert "Traceback" not in said

"""Says what keeps an MLflow server from answering: for each cause a sentence and a remedy.

Errors of MLflow, of `requests` and of SQLAlchemy become words for the user here and nowhere else;
`database_faults` has those of databases.
"""

import importlib.metadata
import os
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
from packaging.version import InvalidVersion, Version
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import LocationParseError, ProtocolError, ProxyError, ReadTimeoutError

from orchestrator.base.text import first_line
from orchestrator.tracking.database_faults import (
    Fault,
    causes_of,
    database_fault,
    first_of,
    own_words,
)
from orchestrator.tracking.store import is_server, shown_uri

# A slower server would hold up no trial, but its pages would be of no use.
_TIMEOUT_S = 10.0
_LONGEST_VERSION = 100
_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
_BODY = re.compile(r"Response body: '(.*)'", re.DOTALL)
_TITLE = re.compile(r"<title>\s*(.*?)\s*</title>", re.DOTALL | re.IGNORECASE)
# What MLflow's client says of an answer that no MLflow server gives: JSON without an error code
# of its own, or no JSON.
_FOREIGN = ("INTERNAL_ERROR: Response: ", "not in a valid JSON format")
# Of MLflow's host check, see `mlflow.server.security_utils`.
_REFUSED_HOST = "Invalid Host header"
_STATUS_OF_CODE = {
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "CUSTOMER_UNAUTHORIZED": HTTPStatus.UNAUTHORIZED,
    "ENDPOINT_NOT_FOUND": HTTPStatus.NOT_FOUND,
}
_GATEWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
# Of a server that does not know MLflow's requests; MLflow's own refusals say more than a status.
_UNKNOWN = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.GONE,
    HTTPStatus.NOT_IMPLEMENTED,
)
_START = "start it (`mlflow server`), or correct --tracking-uri"
_CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


class NotMlflowError(Exception):
    """What answers is no MLflow server; the message is what it answered."""


def outage_text(error: BaseException, uri: str) -> str:
    """One line for the user about an error on the way to MLflow."""
    return f"MLflow at {shown_uri(uri)} does not take results: {fault_of(error, uri)}"


def fault_of(error: BaseException, uri: str) -> Fault:
    """The cause of an error, and its remedy.

    Args:
        error: What MLflow, `requests` or SQLAlchemy raised.
        uri: Address of the MLflow server or database.
    """
    causes = causes_of(error)
    if not is_server(uri):
        return database_fault(causes, uri) or own_words(error, uri)
    fault = _connection_fault(causes, uri) or _answer_fault(causes, uri)
    return _with_proxy(fault, uri) if fault else own_words(error, uri)


def server_version(uri: str) -> str:
    """Version of the MLflow server at an address.

    Raises:
        requests.RequestException: It cannot be reached, or refuses.
        NotMlflowError: Something else answers there.
    """
    answer = ask(uri, "/version")
    try:
        return str(Version(answer.text[:_LONGEST_VERSION].strip()))
    except InvalidVersion as error:
        raise NotMlflowError(answer.text) from error


def ask(uri: str, path: str) -> requests.Response:
    """Ask a server with the user's credentials, certificates and proxies, as MLflow does.

    Raises:
        requests.RequestException: It cannot be reached, or refuses.
    """
    known = os.environ.get
    is_lax = known("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    user, token = known("MLFLOW_TRACKING_USERNAME"), known("MLFLOW_TRACKING_TOKEN")
    answer = requests.get(
        f"{uri}{path}",
        headers={"Authorization": f"Bearer {token}"} if token and not user else {},
        auth=(user, known("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
        verify=known("MLFLOW_TRACKING_SERVER_CERT_PATH") or not is_lax,
        timeout=_TIMEOUT_S,
        allow_redirects=False,
    )
    if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
        raise requests.HTTPError(str(answer.status_code), response=answer)
    return answer


def _connection_fault(causes: Sequence[BaseException], uri: str) -> Fault | None:
    """Why no answer came from a server; None: one came."""
    if first_of(causes, requests.exceptions.InvalidURL, LocationParseError):
        return Fault("it is no address of a server", "write --tracking-uri http://HOST:PORT")
    if "SOCKS" in str(first_of(causes, requests.exceptions.InvalidSchema)):
        remedy = 'install it (`pip install "requests[socks]"`)'
        return _away("it cannot be reached: the package PySocks is missing", remedy)
    if first_of(causes, requests.exceptions.ProxyError, ProxyError):
        return _away(f"it cannot be reached{_reason(causes)}")
    if first_of(causes, ssl.SSLError):
        return _tls_fault(causes)
    if first_of(causes, socket.gaierror):
        found = f"it cannot be reached (the name {urlsplit(uri).hostname} does not resolve)"
        return _away(found, "correct --tracking-uri, or this machine's name service")
    if first_of(causes, TimeoutError, requests.exceptions.Timeout, ReadTimeoutError):
        return _away("no answer in time", "see whether it is busy, or a firewall in the way")
    if first_of(causes, ProtocolError):
        remedy = "write https:// if it wants TLS, or correct the port of --tracking-uri"
        return _away(f"it gives no answer in HTTP{_reason(causes)}", remedy)
    if first_of(causes, requests.exceptions.ConnectionError):
        return _away(f"it cannot be reached{_reason(causes)}", _START)
    return None


def _away(found: str, remedy: str = "") -> Fault:
    return Fault(found, remedy, is_away=True)


def _tls_fault(causes: Sequence[BaseException]) -> Fault:
    refused = first_of(causes, ssl.SSLCertVerificationError)
    if refused is None:
        remedy = "write http:// instead of https://, or correct the port of --tracking-uri"
        return _away("it does not speak TLS", remedy)
    why = refused.verify_message
    if "mismatch" in why:
        remedy = "name it in --tracking-uri as the certificate does"
        return _away(f"its certificate is for another name ({why.rstrip('.')})", remedy)
    remedy = "name its authority's certificate with MLFLOW_TRACKING_SERVER_CERT_PATH=FILE"
    return _away(f"its certificate is not trusted ({why})", remedy)


def _reason(causes: Sequence[BaseException]) -> str:
    """The system's words about a failed connection, in brackets."""
    last = causes[-1]
    # As `urllib3` does: ProtocolError("Connection aborted.", RemoteDisconnected("...")).
    while last.args and isinstance(last.args[-1], BaseException):
        last = last.args[-1]
    text = (last.strerror if isinstance(last, OSError) else None) or str(last)
    return f" ({first_line(text)})" if text.strip() else ""


def _answer_fault(causes: Sequence[BaseException], uri: str) -> Fault | None:
    """What is wrong with what a server answered; None: MLflow itself says it."""
    foreign = first_of(causes, NotMlflowError)
    status, body = _answered(causes)
    if foreign is not None or any(words in str(causes[0]) for words in _FOREIGN):
        return _foreign_fault(str(foreign) if foreign else body)
    if status is None:
        return None
    answers = f"it answers {status}{_phrase(status)}"
    if status in _UNKNOWN:
        return _unknown_request(uri, answers, body)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _refusal(answers, status, body, uri)
    if status < HTTPStatus.BAD_REQUEST:
        remedy = f"name the address behind the login, and {_CREDENTIALS}"
        return Fault(f"{answers}: it sends elsewhere, as a login page does", remedy)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Fault(f"{answers}: a proxy wants a user", "write it into the proxy's address")
    if status in _GATEWAY:
        found = f"{answers}: a gateway answers, the server behind it does not"
        return Fault(found, f"look into the server's log; {_START}")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        found = f"{answers}: it, or the database behind it, is not ready"
        return Fault(found, f"look into the server's log; {_START}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Fault(f"{answers}: it has failed", "look into the server's log")
    return Fault(f"{answers}: it refuses the request", "look into the server's log")


def _answered(causes: Sequence[BaseException]) -> tuple[int | None, str]:
    """Status and body of an answer that MLflow's client, or `ask`, did not accept."""
    error = first_of(causes, requests.HTTPError)
    if error is not None and error.response is not None:
        return error.response.status_code, error.response.text
    text = str(causes[0])
    body, status = _BODY.search(text), _STATUS.search(text)
    if status is not None:
        return int(status[1] or status[2]), body[1] if body else ""
    return _STATUS_OF_CODE.get(getattr(causes[0], "error_code", "")), body[1] if body else ""


def _phrase(status: int) -> str:
    known = {listed.value: listed.phrase for listed in HTTPStatus}
    return f" ({known[status]})" if status in known else ""


def _foreign_fault(body: str) -> Fault:
    title = _TITLE.search(body)
    page = f": a page {first_line(title[1])!r}" if title else ""
    remedy = f"correct the port or path of --tracking-uri, or {_START}"
    return Fault(f"something answers there, but not as an MLflow server{page}", remedy)


def _unknown_request(uri: str, answers: str, body: str) -> Fault:
    """What does not know a request of MLflow's client: another version, or something else."""
    try:
        version = server_version(uri)
    except (requests.RequestException, NotMlflowError):
        return _foreign_fault(body)
    here = importlib.metadata.version("mlflow")
    if version == here:
        return Fault(f"{answers}: it refuses the request", "look into the server's log")
    found = f"it is MLflow {version}, which does not know a request of MLflow {here} here"
    return Fault(found, f"run the server with MLflow {here}")


def _refusal(answers: str, status: int, body: str, uri: str) -> Fault:
    parts = urlsplit(uri)
    if _REFUSED_HOST in body:
        host = parts.hostname
        found = f"{answers}: it refuses the host name {parts.netloc.rpartition('@')[2]}"
        return Fault(found, f"start it with `mlflow server --allowed-hosts '{host},{host}:*' ...`")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or parts.username
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    identity = f"the user {user}" if user else "the token of MLFLOW_TRACKING_TOKEN" if token else ""
    if status == HTTPStatus.FORBIDDEN:
        found = f"{answers}: {identity or 'who has no name'} may not do this"
        return Fault(found, f"let the server's owner grant it, or {_CREDENTIALS}")
    if not identity:
        return Fault(f"{answers}: it asks for a user or a token", _CREDENTIALS)
    return Fault(
        f"{answers}: it refuses {identity}{' or the password' if user else ''}", _CREDENTIALS
    )


def _with_proxy(fault: Fault, uri: str) -> Fault:
    """The fault with the proxy of the environment that `requests` takes, if there is one."""
    address = select_proxy(uri, get_environ_proxies(uri, no_proxy=None))
    if not address:
        return fault
    scheme = urlsplit(uri).scheme
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if os.environ.get(name) == address), "the environment")
    whole = address if "://" in address else f"http://{address}"
    found = (
        f"{fault.found}, through the proxy {urlsplit(whole).netloc.rpartition('@')[2]} of {name}"
    )
    upper = "NO_PROXY" in os.environ and "no_proxy" not in os.environ
    exempt = "NO_PROXY" if upper else "no_proxy"
    hosts = [*filter(None, [os.environ.get(exempt)]), urlsplit(uri).hostname or ""]
    around = f"set {exempt}={','.join(hosts)} to go without it"
    return replace(fault, found=found, remedy=f"{around}, or {fault.remedy or f'correct {name}'}")

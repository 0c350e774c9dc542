"""A proxy on loopback that lets every call to a server take some seconds."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Headers that hold for one connection, or that the proxy says itself.
_OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}


class SlowProxy:
    """Holds every call until `go` is set; after that each takes a delay, then is handed on.

    Args:
        port: The server's on 127.0.0.1.
        delay_s: Seconds that a call takes beyond the server's.
    """

    def __init__(self, port: int, delay_s: float) -> None:
        self.asked, self.go, self.closing = (threading.Event() for _ in range(3))
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.asked.set()
                proxy.go.wait()
                # The fault itself, no wait for something.
                proxy.closing.wait(delay_s)
                hand_on(self, port)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, format: str, *words: object) -> None:
                """A test's output is no place for calls."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"


def hand_on(call: BaseHTTPRequestHandler, port: int) -> None:
    """Ask the server the same, and give its answer."""
    body = call.rfile.read(int(call.headers.get("Content-Length", 0)))
    headers = {key: value for key, value in call.headers.items() if key.lower() != "host"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(call.command, call.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    call.send_response(answer.status)
    for key, value in answer.getheaders():
        if key.lower() not in _OWN:
            call.send_header(key, value)
    call.send_header("Content-Length", str(len(content)))
    call.end_headers()
    call.wfile.write(content)


@contextmanager
def slow_proxy(port: int, delay_s: float) -> Iterator[SlowProxy]:
    """A proxy while the block runs."""
    proxy = SlowProxy(port, delay_s)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.go.set()
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()

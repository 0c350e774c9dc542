"""A metadata service as EC2's, on 127.0.0.1."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MetadataService:
    """What the service answers; tests change it while it runs.

    Args:
        action: Text of `spot/instance-action`; None: no notice.
        rebalance: Text of the rebalance recommendation; None: none.
    """

    def __init__(self) -> None:
        self.action: str | None = None
        self.rebalance: str | None = None
        self.tokens: list[str] = []
        self.looks = 0
        self.url = ""

    def forget_tokens(self) -> None:
        """As after a restart of the service: tokens handed out before are refused."""
        self.tokens.append("")

    def new_token(self) -> str:
        self.tokens.append(f"token-{len(self.tokens)}")
        return self.tokens[-1]

    def answer(self, path: str, token: str | None) -> tuple[int, str]:
        if not self.tokens or token != self.tokens[-1]:
            return 401, ""
        texts = {
            "/latest/meta-data/spot/instance-action": self.action,
            "/latest/meta-data/events/recommendations/rebalance": self.rebalance,
        }
        self.looks += path.endswith("instance-action")
        text = texts.get(path)
        return (404, "") if text is None else (200, text)


@contextmanager
def metadata_service() -> Iterator[MetadataService]:
    """The service for as long as the block runs."""
    service = MetadataService()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            fits = self.path == "/latest/api/token" and asked and 1 <= int(asked) <= 21_600
            self._answer(*((200, service.new_token()) if fits else (400, "")))

        def do_GET(self) -> None:
            self._answer(*service.answer(self.path, self.headers.get("X-aws-ec2-metadata-token")))

        def _answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

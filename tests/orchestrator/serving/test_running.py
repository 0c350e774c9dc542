"""What `serve` refuses before it starts anything."""

import socket
from pathlib import Path

import pytest

from orchestrator.base.errors import ServeError
from orchestrator.serving.guards import LOOPBACK
from orchestrator.serving.replicas import Place
from orchestrator.serving.running import Service, access_to, serve_gallery
from prvr_model.errors import PrvrError
from tests.orchestrator.serving.served_galleries import NAMES, sentence_gallery

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert access_to(host, None).hosts == LOOPBACK
    assert access_to(host, TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "machine.example"])
def test_what_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ServeError) as caught:
        access_to(host, None)
    assert str(caught.value) == (
        f"--host {host} is reached from other machines: set PRVR_SERVE_TOKEN to a secret of 16 or "
        "more characters, which every client must send, or leave out --host"
    )
    assert access_to(host, TOKEN).token == TOKEN
    assert access_to(host, TOKEN).hosts is None


@pytest.mark.parametrize("token", ["", "short", "with a space in its midst", f"{TOKEN};"])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(ServeError, match=f"PRVR_SERVE_TOKEN: found {len(token)} characters; wan"):
        access_to("127.0.0.1", token)


def refused(service: Service) -> str:
    with pytest.raises(PrvrError) as caught:
        serve_gallery(service, lambda **_: None, lambda _: pytest.fail("it does not start"))
    return str(caught.value)


def test_what_is_missing_is_told_before_ray_starts(tmp_path: Path) -> None:
    assert "there is no gallery at" in refused(Service(Place(tmp_path / "no.gallery")))
    place = Place(sentence_gallery(tmp_path, NAMES[:2]))
    nowhere = tmp_path / "nowhere"
    found = refused(Service(place, videos=nowhere))
    assert found == f"--videos: there is no folder {nowhere}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused(Service(place, port=port)) == (
            f"port {port} on 127.0.0.1 cannot be used (Address already in use); choose another "
            "with --port"
        )

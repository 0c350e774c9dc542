"""Notices: from a metadata service that comes and goes, and from a signal."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.cluster.spot_notices import Ec2Notices, SignalNotices
from tests.orchestrator.cluster.fake_metadata import MetadataService, metadata_service

NOTICE = '{"action": "terminate", "time": "2031-05-06T07:08:09Z"}'
NOTICE_UNIX_TIME = 1935817689.0


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with metadata_service() as service:
        yield service


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def notices(service: MetadataService, lines: list[str]) -> Ec2Notices:
    return Ec2Notices(f"{service.url}/", lines.append)


def test_no_notice_is_none(notices: Ec2Notices, lines: list[str]) -> None:
    assert notices.look() is None
    assert lines == []


def test_a_notice_is_the_same_as_long_as_it_is_repeated(
    service: MetadataService, notices: Ec2Notices
) -> None:
    service.action = NOTICE
    first, again = notices.look(), notices.look()
    assert first == again
    assert first is not None
    assert first.at == NOTICE_UNIX_TIME
    assert first.reason == "spot instance action terminate"
    service.action = NOTICE.replace("07:08", "07:09")
    other = notices.look()
    assert other is not None
    assert (other.key != first.key, other.at) == (True, NOTICE_UNIX_TIME + 60)


def test_a_time_without_a_zone_is_utc(service: MetadataService, notices: Ec2Notices) -> None:
    service.action = NOTICE.replace("Z", "")
    found = notices.look()
    assert found is not None
    assert found.at == NOTICE_UNIX_TIME


def test_a_hibernation_without_a_time_is_now(service: MetadataService, notices: Ec2Notices) -> None:
    before = time.time()
    service.action = '{"action": "hibernate"}'
    first, again = notices.look(), notices.look()
    assert first == again
    assert first is not None
    assert before <= first.at <= time.time()


def test_one_token_does_until_it_is_refused(service: MetadataService, notices: Ec2Notices) -> None:
    for _ in range(3):
        notices.look()
    assert len(service.tokens) == 1
    service.forget_tokens()
    service.action = NOTICE
    assert notices.look() is not None


def test_a_rebalance_recommendation_is_said_once(
    service: MetadataService, notices: Ec2Notices, lines: list[str]
) -> None:
    service.rebalance = '{"noticeTime": "2031-05-06T07:00:00Z"}'
    assert (notices.look(), notices.look()) == (None, None)
    assert lines == [f"rebalance recommendation (nothing is done): {service.rebalance}"]


@pytest.mark.parametrize(
    "text", ["<html>", "[]", "{}", '{"action": "stop", "time": "soon"}', '{"time": 1, "action": 2}']
)
def test_what_is_no_notice_is_said_once(
    service: MetadataService, notices: Ec2Notices, lines: list[str], text: str
) -> None:
    service.action = text
    assert (notices.look(), notices.look()) == (None, None)
    assert lines == [f"{service.url}: spot/instance-action is not a notice: {text!r}"]


def test_a_service_that_is_away_is_said_once_and_asked_on(lines: list[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        notices = Ec2Notices(url, lines.append)
        assert (notices.look(), notices.look()) == (None, None)
    assert len(lines) == 1
    assert lines[0].startswith(f"{url} does not answer (")
    with metadata_service() as service:
        notices._url = service.url
        service.action = NOTICE
        assert notices.look() is not None
    assert lines[1:] == [f"{service.url} answers"]


def test_proxies_are_not_asked(
    service: MetadataService, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    service.action = NOTICE
    assert Ec2Notices(service.url, lines.append).look() is not None


@pytest.fixture
def signals() -> Iterator[SignalNotices]:
    before = signal.getsignal(signal.SIGUSR1)
    yield SignalNotices(90)
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_is_a_notice_and_ends_the_pause(signals: SignalNotices) -> None:
    assert signals.look() is None
    before = time.time()
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    # Longer than any test may take: only the signal ends it.
    signals.wait(600)
    timer.join()
    first = signals.look()
    assert first is not None
    assert before + 90 <= first.at <= time.time() + 90
    os.kill(os.getpid(), signal.SIGUSR1)
    second = signals.look()
    assert second is not None
    assert second.key != first.key

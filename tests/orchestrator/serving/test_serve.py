"""A real service: shards, dead replicas, a new version, a browser, its end; one for all tests."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.serving.gallery import Gallery
from prvr_model.retrieval.gallery import GalleryReader, Shard
from tests.leftovers import left_of
from tests.orchestrator.cluster_process import small_cluster
from tests.orchestrator.serving.serve_process import (
    Asking,
    ServeProcess,
    serving,
    title,
    wait_until,
)
from tests.orchestrator.serving.served_galleries import (
    NAMES,
    add_more,
    sentence_gallery,
    write_video,
)

pytestmark = pytest.mark.soak

SENTENCE = "somebody opens the fridge"
LIGHT, DARK, PHONE = (1100, 900, "light"), (1100, 900, "dark"), (390, 844, "light")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve")
    sentence_gallery(path)
    for name in NAMES[1:]:
        write_video(path / "videos" / f"{name}.webm")
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServeProcess]:
    with serving(folder, "--shards", "2", "--videos", folder / "videos") as process:
        yield process


def ask(served: ServeProcess, **question: Any) -> Any:  # noqa: ANN401
    found = httpx.post(f"{served.address}/query", json=question, timeout=120)
    assert found.status_code == 200, found.text
    return found.json()["answers"]


def test_shards_together_answer_as_the_whole_gallery(served: ServeProcess, folder: Path) -> None:
    gallery = Gallery.open(folder / "my.gallery", encoder=folder / "encoder")
    assert [
        GalleryReader.open(gallery.reader.path, Shard(part, 2)).num_videos for part in (0, 1)
    ] == [6, 6]
    for top in (1, 5, 20):
        answers = ask(served, query=SENTENCE, top=top, moments=3)
        wanted = gallery.query(SENTENCE, top=top, moments=3)
        assert [answer["video"] for answer in answers] == [answer.video for answer in wanted]
        for answer, expected in zip(answers, wanted, strict=True):
            # The last bits of sums depend on what is multiplied together.
            assert answer["score"] == pytest.approx(expected.score, abs=1e-5)
            assert answer["start_s"] == expected.start_s
            assert len(answer["moments"]) == len(expected.moments)
    assert len(served.replicas("GalleryShard")) == 2


@pytest.mark.parametrize("kind", ["GalleryShard", "QuestionEncoder"])
def test_a_killed_replica_costs_no_answer_and_comes_back(served: ServeProcess, kind: str) -> None:
    before = served.replicas(kind)
    with Asking(served.address) as asking:
        before[0].kill()
        asking.wait_for(50)
        wait_until(lambda: len(set(served.replicas(kind)) - {before[0]}) == len(before))
        asking.wait_for(20)
    assert asking.problems == []
    assert set(asking.statuses) == {200}
    assert httpx.get(f"{served.address}/healthz", timeout=120).json()["status"] == "ok"


def test_a_new_version_is_swapped_in_under_load(served: ServeProcess, folder: Path) -> None:
    before = httpx.get(f"{served.address}/healthz", timeout=120).json()["revision"]
    with Asking(served.address) as asking:
        add_more(folder / "my.gallery", ["added"])
        wait_until(lambda: "added" in asking.videos or bool(asking.problems))
    assert asking.problems == []
    assert httpx.get(f"{served.address}/healthz", timeout=120).json()["revision"] == before + 1


@pytest.mark.parametrize(("width", "height", "scheme"), [LIGHT, DARK, PHONE])
def test_the_page_searches_and_plays(
    browser: Any,  # noqa: ANN401
    served: ServeProcess,
    width: int,
    height: int,
    scheme: str,
) -> None:
    script = browser.execute_script
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(served.address)
    # By the keyboard alone: the box has the focus.
    browser.switch_to.active_element.send_keys(SENTENCE + "\n")
    wait_until(lambda: bool(script("return document.querySelector('#answers li')")))
    names = script("return [...document.querySelectorAll('h2')].map(name => name.innerText)")
    wanted = [f"{answer['rank']} {answer['video']}" for answer in ask(served, query=SENTENCE)]
    assert names == wanted
    assert script("return document.querySelector('[role=status]').innerText").endswith("best first")
    label = script("return document.querySelector('svg.strip').getAttribute('aria-label')")
    assert label.startswith("Where the sentence matches along the video; best from 0:")
    assert script("return document.documentElement.scrollWidth <= innerWidth")
    _check_that_a_moment_plays(browser)
    dark = script("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
    assert dark == (scheme == "dark")
    assert browser.get_log("browser") == []


def _check_that_a_moment_plays(browser: Any) -> None:  # noqa: ANN401
    """The last moment of a video is not at its beginning."""
    card = "[...document.querySelectorAll('li.plays')].at(-1)"
    browser.execute_script(f"{card}.querySelector('.moments').lastElementChild.click()")
    wait_until(lambda: browser.execute_script(f"return !{card}.querySelector('video').paused"))
    begun = browser.execute_script(
        f"const card = {card}; return [card.querySelector('video').currentTime, "
        "card.querySelector('.moments').lastElementChild.innerText]"
    )
    minutes, seconds = begun[1].removeprefix("▶ ").split(" to ")[0].split(":")
    # Shown times are rounded to seconds.
    assert begun[0] >= 60 * int(minutes) + int(seconds) - 0.51
    assert (
        browser.execute_script(
            "return [...document.querySelectorAll('video')].filter(player => !player.paused).length"
        )
        == 1
    )


def test_strangers_see_neither_the_gallery_nor_ray(served: ServeProcess) -> None:
    listening = {
        connection.laddr.ip
        for process in [served.process.pid, *psutil.Process(served.process.pid).children(True)]
        for connection in _connections(process)
    }
    # The last is 127.0.0.1 for a socket that takes both versions of the protocol.
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def _connections(process: "int | psutil.Process") -> list[Any]:
    found = psutil.Process(process) if isinstance(process, int) else process
    try:
        return [
            connection
            for connection in found.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    except psutil.Error:
        return []


def test_its_end_answers_what_was_accepted_and_leaves_nothing(served: ServeProcess) -> None:
    mine = psutil.Process(served.process.pid).children(recursive=True)
    with Asking(served.address) as asking:
        code = served.end(signal.SIGINT)
    assert code == 0
    # Later questions find no service; no question that it took got another answer.
    assert set(asking.statuses) == {200}
    assert not left_of(lambda: mine)
    assert served.process.stdout is not None
    assert served.process.stdout.read() == ""
    lines = [line for line in served.errors.read_text().splitlines() if line.startswith("{")]
    events = {json.loads(line)["event"] for line in lines}
    assert {"request"} <= events <= {"request", "gallery"}  # the second where a test swapped it
    assert "Traceback" not in served.errors.read_text()


def test_a_cluster_serves_and_keeps_nothing_of_a_killed_service(tmp_path: Path) -> None:
    gallery = Gallery.open(sentence_gallery(tmp_path), encoder=tmp_path / "encoder")
    secret = "a-token-of-16-letters"
    with (
        small_cluster() as cluster,
        serving(
            tmp_path,
            "--shards",
            "2",
            "--address",
            cluster.address,
            **cluster.environment,
            PRVR_SERVE_TOKEN=secret,
        ) as served,
    ):
        assert httpx.post(f"{served.address}/query", json={"query": "a"}).status_code == 401
        found = httpx.post(
            f"{served.address}/query",
            json={"query": "a"},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=120,
        ).json()["answers"]
        videos = [answer["video"] for answer in found]
        assert videos == [answer.video for answer in gallery.query("a")]
        every = psutil.Process().children(recursive=True)
        mine = [process for process in every if "ServeReplica" in title(process)]
        assert len(mine) == 3
        os.kill(served.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(title(replica) for replica in mine))

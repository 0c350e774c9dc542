"""The service's HTTP without Ray: questions, refusals, limits, files, a gallery that changes."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.serving import service as service_module
from orchestrator.serving.answers import Answer
from orchestrator.serving.catalogue import Catalogue, FollowedGallery
from orchestrator.serving.gallery import Gallery
from orchestrator.serving.guards import Access, log_line
from orchestrator.serving.questions import Asked
from orchestrator.serving.service import Limits, Surroundings, make_app
from prvr_model.errors import GalleryError
from prvr_model.retrieval.gallery import GalleryReader, Shard
from prvr_model.retrieval.gallery_format import GALLERY_MANIFEST
from tests.orchestrator.serving.served_galleries import NAMES, add_more, sentence_gallery

TOKEN = "0123456789abcdef"
BASE = "http://127.0.0.1:8000"


class HereSearch:
    """Searches in this process."""

    def __init__(self, gallery: Path, encoder: Path) -> None:
        self._all = FollowedGallery(gallery, encoder)
        self.problem: Exception | None = None
        self.on_retry: Callable[[], None] = lambda: None
        self.slow = False

    async def prepare(self, version: str | None) -> None:
        if self.problem:
            raise self.problem
        self._all.at(version)

    async def answers(self, version: str, asked: Sequence[Asked]) -> list[tuple[Answer, ...]]:
        await self.prepare(version)
        if self.slow:
            await asyncio.sleep(3600)
        gallery = self._all.at(version)[1]
        vectors = [
            gallery.embed([question.query])
            if question.tokens is None
            else gallery.embed_tokens([question.tokens])
            for question in asked
        ]
        return [
            gallery.search(vector, top=question.top, moments=question.moments)[0]
            for vector, question in zip(vectors, asked, strict=True)
        ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    sentence_gallery(folder)
    videos = folder / "videos" / "shelf"
    videos.mkdir(parents=True)
    (videos / "clip 00.mp4").write_bytes(bytes(range(100)))
    (folder / "secret.mp4").write_bytes(b"secret")
    (folder / "videos" / "stranger.mp4").write_bytes(b"stranger")
    (videos / "clip 01.mp4").symlink_to(folder / "secret.mp4")
    (videos / "clip 02").write_bytes(b"no ending")
    (videos / "clip 03.mp4").symlink_to("clip 00.mp4")
    return folder


class Served:
    """A service in this process, its client and its log."""

    def __init__(self, made: Path, **changes: Any) -> None:  # noqa: ANN401
        gallery = made / "my.gallery"
        self.log: list[dict[str, Any]] = []
        self.search = HereSearch(gallery, made / "encoder")
        parts = {
            "catalogue": Catalogue.open(gallery),
            "search": self.search,
            "access": Access(),
            "log": lambda **fields: self.log.append(fields),
            "videos": made / "videos",
            **changes,
        }
        app = make_app(Surroundings(**parts))
        self.client = TestClient(app, BASE, raise_server_exceptions=False)

    def ask(self, **question: Any) -> tuple[int, Any]:  # noqa: ANN401
        response = self.client.post("/query", json=question)
        return response.status_code, response.json()


@pytest.fixture(scope="module")
def served(made: Path) -> Served:
    return Served(made)


def test_a_sentence_gets_what_the_gallery_answers(served: Served, made: Path) -> None:
    status, found = served.ask(query="a dog runs", top=3, moments=2, strip=True)
    gallery = Gallery.open(made / "my.gallery", encoder=made / "encoder")
    wanted = gallery.query("a dog runs", top=3, moments=2)
    assert status == 200
    assert found["query"] == "a dog runs"
    for answer, expected in zip(found["answers"], wanted, strict=True):
        kept = {name: answer[name] for name in expected.to_dict()}
        assert kept == expected.to_dict()
        assert answer["duration_s"] == 24.0
        assert answer["strip"] == [round(score, 4) for score in expected.strip]
        assert answer["thumbnail_url"] == f"thumbnails/{expected.video_id}"
    assert served.ask(query="a dog runs")[1]["answers"][0]["strip"] is None


def test_token_features_are_answered_as_their_sentence(served: Served, made: Path) -> None:
    gallery = Gallery.open(made / "my.gallery", encoder=made / "encoder")
    (tokens,) = gallery.encoder.encode_captions(["a cat"])
    by_tokens = served.ask(tokens=tokens.tolist())[1]
    assert by_tokens["query"] is None
    assert by_tokens["answers"] == served.ask(query="a cat")[1]["answers"]


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ({"query": "  "}, "query: the sentence is empty; write what is to be seen"),
        ({}, "give one of query and tokens"),
        ({"query": "a", "tokens": [[1.0]]}, "give one of query and tokens"),
        ({"query": "a" * 1001}, "query: String should have at most 1000 characters"),
        ({"query": "a", "top": 0}, "top: Input should be greater than or equal to 1"),
        ({"query": "a", "tpo": 3}, "tpo: Extra inputs are not permitted"),
        ({"tokens": [[1.0, 2.0]]}, "tokens: found rows of 2 values; the model takes 24"),
        (
            {"tokens": [[0.0] * 24]},
            "tokens: found a row of zeros, or numbers beyond float32",
        ),
        ({"tokens": [[1e300] * 24]}, "tokens: found a row of zeros, or numbers beyond float32"),
    ],
)
def test_questions_that_are_none_are_told_why(
    served: Served, question: dict[str, Any], problem: str
) -> None:
    assert served.ask(**question) == (422, {"detail": problem})


def test_a_gallery_of_unknown_features_takes_no_sentence(made: Path, tmp_path: Path) -> None:
    catalogue = Catalogue.open(made / "my.gallery")
    reader = GalleryReader.open(made / "my.gallery")
    reader.manifest = reader.manifest.model_copy(update={"recipe": None})
    catalogue._set(reader)
    served = Served(made, catalogue=catalogue)
    status, found = served.ask(query="a")
    assert status == 422
    assert found["detail"] == (
        "the gallery does not say which encoder made its features, so no sentence can be encoded "
        "for it; send token features (tokens)"
    )
    assert served.client.get("/healthz").json()["takes_sentences"] is False


def test_requests_that_are_too_large_are_refused(made: Path) -> None:
    served = Served(made, limits=Limits(body_bytes=1000))
    problem = {"detail": "a request may have 1000 bytes"}
    assert served.ask(query="a" * 2000) == (413, problem)

    def pieces() -> Iterator[bytes]:
        yield b'{"query": "'
        for _ in range(20):
            yield b"a" * 100

    response = served.client.post(
        "/query", content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert (response.status_code, response.json()) == (413, problem)


def test_more_questions_than_may_wait_are_refused(made: Path) -> None:
    served = Served(made, limits=Limits(waiting=0))
    response = served.client.post("/query", json={"query": "a"})
    assert response.status_code == 503
    assert response.json() == {"detail": "0 questions wait already; ask again in a second"}
    assert response.headers["retry-after"] == "1"


def test_an_answer_that_takes_too_long_is_given_up(made: Path) -> None:
    served = Served(made, limits=Limits(seconds=0.01))
    served.search.slow = True
    assert served.ask(query="a") == (504, {"detail": "no answer within 0.01 s"})


def test_a_failure_is_logged_in_words_and_not_shown(made: Path) -> None:
    served = Served(made)
    served.search.problem = GalleryError("part-1.arrow is missing")
    assert served.ask(query="a") == (
        500,
        {"detail": "the gallery cannot be searched; the log says why"},
    )
    assert {"event": "failed", "path": "/query", "problem": "part-1.arrow is missing"} in served.log
    health = served.client.get("/healthz")
    assert health.status_code == 503
    assert health.json()["status"] == (
        "the gallery cannot be searched: GalleryError: part-1.arrow is missing"
    )


def test_only_files_of_the_gallery_s_videos_are_served(served: Served) -> None:
    get = served.client.get
    whole = get("/videos/shelf/clip%2000")
    assert (whole.status_code, whole.content) == (200, bytes(range(100)))
    assert whole.headers["content-type"] == "video/mp4"
    part = get("/videos/shelf%2Fclip%2000", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    late = get("/videos/shelf/clip%2000", headers={"Range": "bytes=200-"})
    assert late.status_code == 416
    assert get("/videos/shelf/clip%2003").content == bytes(range(100))
    assert served.client.head("/videos/shelf/clip%2000").headers["content-length"] == "100"


@pytest.mark.parametrize(
    "path",
    [
        "stranger",
        "stranger.mp4",
        "shelf/clip%2001",  # a link that leads out of the folder
        "shelf/clip%2002",  # no video
        "shelf/clip%2004",  # no file
        "shelf/clip%2000.mp4",  # the file's name, which is not the video's
        "../secret.mp4",
        "..%2Fsecret.mp4",
        "%2e%2e/secret.mp4",
        "shelf/..%2f..%2fsecret",
        "..%5Csecret.mp4",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "shelf/clip%2000%00",
        "",
    ],
)
def test_nothing_else_of_the_disk_is_served(served: Served, path: str) -> None:
    # As it is: a client would take `..` out of the address.
    response = served.client.request("GET", f"{BASE}/videos/{path}")
    assert response.status_code == 404
    assert b"secret" not in response.content


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "shelf/../../secret", "a\0b"])
def test_names_of_a_hostile_gallery_lead_nowhere(made: Path, name: str) -> None:
    from orchestrator.serving.video_files import VideoFiles

    assert VideoFiles(made / "videos", lambda _: True).find(name) is None
    absolute = str(made / "secret")
    assert VideoFiles(made / "videos", lambda _: True).find(absolute) is None
    assert VideoFiles(made / "videos", lambda _: True).find("stranger") is not None


def test_thumbnails_are_those_of_the_gallery(served: Served) -> None:
    found = served.client.get("/thumbnails/3")
    assert found.content[:2] == b"\xff\xd8"
    assert found.headers["content-type"] == "image/jpeg"
    for stranger in (12, -1, 10**30):
        assert served.client.get(f"/thumbnails/{stranger}").status_code == 404


def test_with_a_token_only_who_has_it_is_answered(made: Path) -> None:
    served = Served(made, access=Access(TOKEN, None))
    client = served.client
    for path in ("/", "/docs", "/openapi.json", "/healthz"):
        assert client.get(path).status_code == 200
    refused = client.get("/metrics")
    assert refused.status_code == 401
    assert refused.json() == {
        "detail": "send the token of PRVR_SERVE_TOKEN: Authorization: Bearer TOKEN"
    }
    paths = ("/metrics", "/thumbnails/1", "/videos/shelf/clip%2000")
    for headers in ({"Authorization": "Bearer wrong"}, {"Cookie": b"prvr_token=\xe9"}, {}):
        assert [client.get(path, headers=headers).status_code for path in paths] == [401] * 3
    assert served.ask(query="a")[0] == 401
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Cookie": f"prvr_token={TOKEN}"}):
        assert [client.get(path, headers=headers).status_code for path in paths] == [200] * 3


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("elsewhere.example:8000", 421),
        ("127.0.0.1.elsewhere.example", 421),
    ],
)
def test_names_of_other_sites_do_not_reach_loopback(served: Served, host: str, status: int) -> None:
    assert served.client.get("/healthz", headers={"Host": host}).status_code == status


def test_requests_are_logged_and_counted_without_sentences(made: Path) -> None:
    served = Served(made)
    served.ask(query="a secret wish")
    served.client.get("/videos/unknown")
    served.search.on_retry()
    (asked, looked) = served.log
    assert asked["path"] == "/query"
    assert (looked["event"], looked["method"], looked["status"]) == ("request", "GET", 404)
    line = json.loads(log_line(**asked))
    assert {"time", "client", "seconds"} <= line.keys()
    assert "secret" not in json.dumps(served.log)
    text = served.client.get("/metrics").text
    assert 'prvr_requests_total{method="POST",path="/query",status="200"} 1.0' in text
    assert 'prvr_requests_total{method="GET",path="/videos/{name:path}",status="404"} 1.0' in text
    assert "prvr_batch_queries_sum 1.0" in text
    assert "prvr_retries_total 1.0" in text
    assert f"prvr_gallery_videos {len(NAMES)}.0" in text


def test_the_pages_load_nothing_from_elsewhere(served: Served) -> None:
    for path in ("/", "/docs"):
        page = served.client.get(path)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        addresses = page.text.replace("http://www.w3.org/2000/svg", "")
        assert "//" not in addresses.replace("http://127.0.0.1:8000", "").replace("// Heights", "")
    api = served.client.get("/openapi.json").json()
    statuses = api["paths"]["/query"]["post"]["responses"].keys()
    assert {"200", "401", "413", "422", "503", "504"} <= statuses


def test_a_new_version_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence_gallery(tmp_path, NAMES[:3])
    monkeypatch.setattr(service_module, "_LOOK_EVERY_S", 0.01)
    served = Served(tmp_path, videos=None)
    with served.client as client:
        assert client.get("/healthz").json()["videos"] == 3
        encoder = served.search._all.at(None)[1].encoder
        add_more(tmp_path / "my.gallery", NAMES[3:5])
        while not any(entry["event"] == "gallery" for entry in served.log):
            client.get("/healthz")
        assert client.get("/healthz").json()["videos"] == 5
        assert len(served.ask(query="a")[1]["answers"]) == 5
        # Loading it again would take seconds.
        assert served.search._all.at(None)[1].encoder is encoder
        (tmp_path / "my.gallery" / GALLERY_MANIFEST).write_text("{}")
        while not any("problem" in entry for entry in served.log):
            client.get("/healthz")
        assert client.get("/healthz").json()["videos"] == 5


def test_shards_share_a_version(tmp_path: Path) -> None:
    """A replica keeps the version before, and says which one it used."""
    gallery = sentence_gallery(tmp_path, NAMES[:3])
    followed = FollowedGallery(gallery, shard=Shard(0, 2))
    old, _ = followed.at(None)
    add_more(gallery, NAMES[3:5])
    assert followed.at(old)[0] == old
    new, _ = followed.at("unknown")
    assert new != old
    assert followed.at(old)[0] == old
    add_more(gallery, NAMES[5:6])
    newest, _ = followed.at(None)
    assert followed.at(old)[0] == newest

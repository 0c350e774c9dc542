"""Paths and URIs are told apart and joined, whatever letters they have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prvr_model.files.folder import Folder
from prvr_model.files.location import is_uri, local_path, uri_below, without_options

# Every letter that a name in UTF-8 can have.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40
).filter(lambda name: name not in (".", ".."))


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_path_is_taken_as_it_is(names: list[str]) -> None:
    path = Path("/", *names)
    assert not is_uri(str(path))
    assert local_path(str(path)) == path
    assert local_path(path.as_uri()) == path
    assert without_options(str(path)) == str(path)
    below = uri_below(str(path), "tiny/trials/00001")
    assert Path(below) == path / "tiny/trials/00001"
    assert Folder.open(path).child("tiny").path == str(path / "tiny")
    assert local_path(uri_below(path.as_uri(), "tiny")) == path / "tiny"


def test_the_options_of_a_uri_stay_at_its_end() -> None:
    place = "s3://bucket/runs/?region=eu"
    assert uri_below(place, "tiny/a b") == "s3://bucket/runs/tiny/a%20b?region=eu"
    assert without_options(place) == "s3://bucket/runs/"
    assert local_path(place) is None


@pytest.mark.parametrize("location", ["/a/s3://b", "s3:/bucket", "runs", "://x", "1s://x"])
def test_what_is_no_uri(location: str) -> None:
    assert not is_uri(location)


def test_a_slash_at_the_end_names_the_same_folder(tmp_path: Path) -> None:
    Folder.open(f"{tmp_path}/a/").child("b").write_bytes("c", b"x")
    assert Folder.open(tmp_path / "a").child("b").path == Folder.open(f"{tmp_path}/a/").path + "/b"
    assert (tmp_path / "a" / "b" / "c").exists()

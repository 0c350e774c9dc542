"""Reads all pages of an MLflow search."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

Found = TypeVar("Found", covariant=True)


class Page(Protocol[Found]):
    """One page of results; `token` leads to the next page, None on the last."""

    token: str | None

    def __iter__(self) -> Iterator[Found]:
        """The results on the page."""


class Search(Protocol[Found]):
    """A search of `MlflowClient`."""

    def __call__(self, *, page_token: str | None, **arguments: Any) -> Page[Found]:  # noqa: ANN401
        """The page of a token; the first page for None."""


def all_pages(search: Search[Found], **arguments: Any) -> Iterator[Found]:  # noqa: ANN401
    """The results of a search from all its pages.

    Args:
        search: A search of `MlflowClient`.
        arguments: Its arguments, except for the token of the page.
    """
    token: str | None = None
    while True:
        page = search(page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return

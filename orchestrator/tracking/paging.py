"""Everything that a search of MLflow finds, which MLflow gives page by page."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

Found = TypeVar("Found", covariant=True)


class Page(Protocol[Found]):
    """Some of what a search found; `token` leads to the next page, None: there is none."""

    token: str | None

    def __iter__(self) -> Iterator[Found]:
        """What the page holds."""


class Search(Protocol[Found]):
    """A search of `MlflowClient`."""

    def __call__(self, *, page_token: str | None, **arguments: Any) -> Page[Found]:  # noqa: ANN401
        """The page of a token; None: the first one."""


def all_pages(search: Search[Found], **arguments: Any) -> Iterator[Found]:  # noqa: ANN401
    """What a search finds on all its pages.

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

"""What a drawn thing stands for: a row of the tables or a trial, which the page's script follows.

A plot is drawn with matplotlib, whose artists carry a `gid`, the id of a group in the SVG. `mark`
writes keys there; `marked` makes attributes of them and gives every thing a title.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist

_PREFIX = "marks="
# matplotlib indents groups, so a group ends where a closing tag is as far in as the opening one.
_GROUP = re.compile(rf'^( *)<g id="{_PREFIX}([\w: ]+)">\n(.*?)\n\1</g>$', re.MULTILINE | re.DOTALL)
_POINT = re.compile(r"<use ([^>]*[^>/])/>")
_STYLE = re.compile(r' style="[^"]*"')
# matplotlib writes six digits after the point of a unit that is a 72nd of an inch.
_PLACES = re.compile(r' (?:d|x|y)="[^"]*"')
_MORE_DIGITS = re.compile(r"(\.\d\d)\d+")
_OTHER_ID = re.compile(r'<g id="[^"]*"')
_TITLE = re.compile(r"<title>([\w:]+)</title>")


def trial_key(number: int) -> str:
    """Key of a trial."""
    return f"t{number}"


def row_key(name: str) -> str:
    """Key of a row by its name, which may hold any character."""
    return f"r{hashlib.blake2s(name.encode(), digest_size=6).hexdigest()}"


def run_key(row: str | None, number: int) -> str:
    """Key of a trial that stands for its row, if it is a run of one."""
    return trial_key(number) if row is None else f"{row_key(row)}:{trial_key(number)}"


def mark(artists: Sequence["Artist"], *keys: str) -> None:
    """Say what artists stand for: one key for all of each, or a key for every point of a line."""
    for artist in artists:
        artist.set_gid(_PREFIX + " ".join(keys))


def key_of(artist: "Artist") -> str | None:
    """The row or trial that all of an artist stands for; None if it is not marked so."""
    gid = artist.get_gid() or ""
    keys = {key.partition(":")[0] for key in gid.removeprefix(_PREFIX).split()}
    return keys.pop() if gid.startswith(_PREFIX) and len(keys) == 1 else None


def marked(svg: str) -> str:
    """An SVG whose marks are attributes: `data-key`, and `data-detail` where a trial is meant.

    Each has a title, the key of what it is about, see `titled`. Other groups lose their ids, which
    nothing refers to and which several plots of a page have in common; places lose digits that
    nobody sees.
    """
    short = _PLACES.sub(lambda found: _MORE_DIGITS.sub(r"\1", found[0]), svg)
    return _OTHER_ID.sub("<g", _GROUP.sub(_with_attributes, short))


def _with_attributes(found: re.Match[str]) -> str:
    indent, keys, inside = found[1], found[2].split(), found[3]
    if len(keys) == 1:
        return f"{indent}<g {_attributes(keys[0])}>{_title(keys[0])}\n{inside}\n{indent}</g>"
    # A point that is not drawn, as it has no place, would shift the keys of those after it.
    if len(keys) != len(_POINT.findall(inside)):
        return f"{indent}<g>\n{inside}\n{indent}</g>"
    styles = set(_STYLE.findall("".join(_POINT.findall(inside))))
    style = styles.pop() if len(styles) == 1 else ""
    left = iter(keys)
    points = _POINT.sub(lambda point: _point(point[1].replace(style, ""), next(left)), inside)
    return f"{indent}<g{style}>\n{points}\n{indent}</g>"


def _point(attributes: str, key: str) -> str:
    return f"<use {attributes} {_attributes(key)}>{_title(key)}</use>"


def _attributes(key: str) -> str:
    shown, _, detail = key.partition(":")
    return f'data-key="{shown}"' + (f' data-detail="{detail}"' if detail else "")


def _title(key: str) -> str:
    return f"<title>{key.rpartition(':')[2]}</title>"


def titled(svg: str, titles: Mapping[str, str]) -> str:
    """An SVG of `marked` whose titles are texts.

    Args:
        svg: The SVG.
        titles: Text of each key, escaped; what has none loses its title.
    """

    def text(found: re.Match[str]) -> str:
        title = titles.get(found[1])
        return f"<title>{title}</title>" if title else ""

    return _TITLE.sub(text, svg)

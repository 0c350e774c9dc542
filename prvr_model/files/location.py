"""Where something lies, as text: an absolute path or a URI.

A path is taken as it is, whatever letters it has; in a URI `?` begins the server's options, and
letters are quoted.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

_URI = re.compile(r"[a-zA-Z][\w+.-]*://", re.ASCII)
_FILE = "file://"


def is_uri(location: str) -> bool:
    """Whether a location is a URI, not a path."""
    return _URI.match(location) is not None


def local_path(location: str) -> Path | None:
    """Path of a location on this machine: a path or a `file:` URI; None: another URI."""
    if location.startswith(_FILE):
        return Path(unquote(location.removeprefix(_FILE)))
    return None if is_uri(location) else Path(location)


def without_options(location: str) -> str:
    """A location without the options of a server."""
    return location.partition("?")[0] if is_uri(location) else location


def uri_below(location: str, name: str) -> str:
    """Location of something in a folder; the options of a URI stay at its end."""
    if not is_uri(location):
        return f"{location.rstrip('/')}/{name}"
    path, mark, options = location.partition("?")
    return f"{path.rstrip('/')}/{quote(name)}{mark}{options}"

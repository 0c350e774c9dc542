"""Text of errors and users without what a page or a terminal would obey instead of showing it."""

import re
from unicodedata import category

# Colours and moves of the cursor, as tools write them to a terminal.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_KEPT = frozenset("\n\t")
# Control characters, and halves of pairs, which no file can hold.
_HIDDEN = frozenset({"Cc", "Cs"})


def visible(text: str) -> str:
    """The text without control characters; ends of lines and tabs stay."""
    shown = _TERMINAL.sub("", text)
    return "".join(one for one in shown if one in _KEPT or category(one) not in _HIDDEN)

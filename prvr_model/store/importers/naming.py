"""How the names that were looked for differ from those that are there."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeAlias

_Rename: TypeAlias = Callable[[str], str]

# Names that are compared with all others, and rules that are tried on all names: enough for a few
# odd names at the front to hide no rule, few enough for a hundred thousand names.
_SAMPLES, _RULES = 5, 50
# difflib takes a second for a hundred thousand names.
_COMPARED = 5000


def naming_hint(wanted: Sequence[str], there: Sequence[str]) -> str | None:
    """How most wanted names become names that are there, or the nearest names.

    Args:
        wanted: Ids of videos or captions that were not found.
        there: Names that belong to none.

    Returns:
        A sentence without its end; None where nothing is near.
    """
    if not wanted:
        return None
    videos = [_distinct_videos(names) for names in (wanted, there)]
    if rule := _rule(wanted, there) or _rule(*videos):
        return rule
    near = get_close_matches(wanted[0], there[:_COMPARED], n=3)
    return f"nearest to {wanted[0]!r}: {', '.join(map(repr, near))}" if near else None


def _distinct_videos(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("#")[0] for name in ids))


def _rule(wanted: Sequence[str], there: Sequence[str]) -> str | None:
    names = set(there)
    for difference, rename in (*_affixes(wanted, there), *_spellings(there)):
        pairs = [(name, new) for name in wanted if (new := rename(name)) in names]
        if 2 * len(pairs) > len(wanted):
            name, new = pairs[0]
            return (
                f"{len(pairs)} of the {len(wanted)} names that are missing are there {difference}, "
                f"e.g. {new!r} for {name!r}; give both the same names"
            )
    return None


def _affixes(wanted: Sequence[str], there: Sequence[str]) -> Iterator[tuple[str, _Rename]]:
    """Renamings that add or drop what stands before and behind, the most frequent first."""
    found: Counter[tuple[bool, str, str]] = Counter()
    for name in wanted[:_SAMPLES]:
        for other in there:
            if name in other or other in name:
                inner, outer = sorted((name, other), key=len)
                before, _, behind = outer.partition(inner)
                found[name is inner, before, behind] += 1
    for (adds, before, behind), _ in found.most_common(_RULES):
        places = [(before, "before"), (behind, "behind")]
        affixes = " and ".join(f"{text!r} {place}" for text, place in places if text)
        rename = _adding(before, behind) if adds else _dropping(before, behind)
        yield f"{'with' if adds else 'without'} {affixes}", rename


def _adding(before: str, behind: str) -> _Rename:
    return lambda name: f"{before}{name}{behind}"


def _dropping(before: str, behind: str) -> _Rename:
    return lambda name: name.removeprefix(before).removesuffix(behind)


def _spellings(there: Sequence[str]) -> Iterator[tuple[str, _Rename]]:
    yield "in other capitals", _alike(str.casefold, there)
    yield "with other signs", _alike(_letters, there)


def _alike(plain: _Rename, there: Sequence[str]) -> _Rename:
    known = {plain(name): name for name in there}
    return lambda name: known.get(plain(name), name)


def _letters(name: str) -> str:
    # `v#enc#0`, `v#0` and `v_0` name the same caption.
    return re.sub(r"#enc#|[\W_]", "", name).casefold()

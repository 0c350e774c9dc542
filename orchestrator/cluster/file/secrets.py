"""Secrets in a cluster file, which is shared, committed and copied to every node.

Messages say where a secret is and of what kind, never what it is.
"""

import re
from collections.abc import Iterator, Mapping

from orchestrator.spec.problems import Problem

_SECRET_NAME = (
    "(?:token|password|passwd|secret|secret[_-]?key|api[_-]?key|access[_-]?key(?:[_-]?id)?)"
)
# The beginning of a literal value: not a variable, a command's output, a placeholder, an option or
# a path.
_VALUE = r"[\"']?(?!-|[~.]?/)[^\s\"'$<>`{\\]"
_FILE = (
    r"[\"']?[^\s;&|\"']*(?:token|passw(?:or)?d|secret|credentials|netrc|(?:api|access)[_-]?key)"
    r"(?:\.txt)?(?=$|[\s;&|\"')])"
)
_SAID = rf"\b(?:echo|printf)\s+(?:-\w+\s+)*(?:[\"']%s(?:\\n)?[\"']\s+)?{_VALUE}[^;&|\n$`]*"
# The rest of a command, up to what ends it.
_UP_TO = r"[^;&|\n]*"
_KINDS: Mapping[str, re.Pattern[str]] = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in a URI": re.compile(r"\w://[^/@:?#\s]*:(?!\d+/)[^/@?#\s$][^@?#\s]*@"),
    "an access token": re.compile(
        r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{16,}"
    ),
    "a secret in a header": re.compile(
        rf"(?i)\bAuthorization\s*:\s*(?:Bearer|Basic|Token)\s+{_VALUE}"
    ),
    "a secret written into a file": re.compile(
        rf"(?i){_SAID}(?:>|\|\s*(?:sudo\s+)?tee\b(?:\s+-\w+)*)\s*{_FILE}|"
        rf"\btee\b(?:\s+-\w+)*\s+{_FILE}\s*<<<\s*{_VALUE}"
    ),
    "a secret given to a command": re.compile(
        rf"(?i)\s--[\w-]*{_SECRET_NAME}\s+(?!id=){_VALUE}|"
        rf"\b(?:docker|podman)\s+login\b{_UP_TO}\s-p\s*{_VALUE}|"
        rf"\bsshpass\s+-p\s*{_VALUE}|"
        rf"\bcurl\b{_UP_TO}\s(?:-u|--user)[=\s]\s*[\"']?[^\s:\"'$]+:{_VALUE}|"
        rf"\bwandb\s+login\b{_UP_TO}\s[\"']?[\w-]{{32,}}|"
        rf"\baws\s+configure\s+set\s+\S*{_SECRET_NAME}\s+{_VALUE}|"
        rf"{_SAID}\|{_UP_TO}\s--password-stdin\b|"
        rf"\s--password-stdin\b{_UP_TO}<<<\s*{_VALUE}"
    ),
    # A value that begins with $ is a variable's, one in <> a placeholder.
    "a secret": re.compile(rf"(?i)\b[\w-]*{_SECRET_NAME}\s*[=:]\s*[\"']?[^\s\"'$<]"),
}
_NAMED = re.compile(rf"(?i)^[\w-]*{_SECRET_NAME}$")
_ADVICE = "take it out of the file; mount it as a file of mode 600 (file_mounts), or use a role"


def secret_problems(value: object, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Every text in the file that looks like a secret, and every key that names one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _of_key(str(key), item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from secret_problems(item, (*path, str(index)))
    elif isinstance(value, str):
        kinds = [kind for kind, pattern in _KINDS.items() if pattern.search(value)]
        if kinds:
            yield Problem(path, f"looks like {kinds[0]}; {_ADVICE}")


def _of_key(key: str, item: object, path: tuple[str, ...]) -> Iterator[Problem]:
    is_text = isinstance(item, str) and bool(item) and not item.startswith("$")
    if _NAMED.match(key) and is_text:
        yield Problem(path, f"looks like a secret; {_ADVICE}")
    else:
        yield from secret_problems(item, path)

"""Counts what there is to carry: `python -m tests.code_figures [--json] [FOLDER]`.

Files, lines of code without comments and docstrings, layers, the largest files, and functions that
are long or take many parameters, for the two packages of a checkout.
"""

import argparse
import ast
import io
import json
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.locations import ROOT

PACKAGES = ("orchestrator", "prvr_model")
LONG_LINES = 40
MANY_PARAMETERS = 6
_LARGEST = 10
_NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines: set[int] = set()
    for token in tokens:
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, lines and parameters (`self` and `cls` apart) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = sum(candidate.arg not in ("self", "cls") for candidate in names)
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1, parameters


def layers(root: Path) -> dict[str, Any]:
    """Lines of the layer contracts, and the most modules that share one line."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    lines = [line for contract in contracts["contracts"] for line in contract.get("layers", ())]
    return {"lines": len(lines), "most_on_a_line": max(line.count("|") + 1 for line in lines)}


def figures(root: Path) -> dict[str, Any]:
    """All figures of a checkout."""
    sources = sorted(path for name in PACKAGES for path in (root / name).rglob("*.py"))
    texts = {str(path.relative_to(root)): path.read_text() for path in sources}
    folders: dict[str, int] = {}
    for name in texts:
        folder = name.rpartition("/")[0]
        folders[folder] = folders.get(folder, 0) + 1
    found = [(name, *function) for name, text in texts.items() for function in functions(text)]
    sizes = sorted(((code_lines(text), name) for name, text in texts.items()), reverse=True)
    return {
        "files": len(texts),
        "most_files_in_a_folder": max(folders.values()),
        "code_lines": sum(size for size, _ in sizes),
        "all_lines": sum(text.count("\n") for text in texts.values()),
        "layers": layers(root),
        "largest": [f"{name} {size}" for size, name in sizes[:_LARGEST]],
        "long_functions": [
            f"{name}:{function} {length}"
            for name, function, length, _ in found
            if length > LONG_LINES
        ],
        "many_parameters": [
            f"{name}:{function} {parameters}"
            for name, function, _, parameters in found
            if parameters > MANY_PARAMETERS
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = figures(arguments.folder)
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for key, value in found.items():
        shown = [f"{len(value)}", *value] if isinstance(value, list) else [str(value)]
        sys.stdout.write(f"{key}: " + "\n    ".join(shown) + "\n")


if __name__ == "__main__":
    main()

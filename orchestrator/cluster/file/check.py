"""Checks a file for `ray up` before it costs money.

Ray silently accepts misspelt keys and missing sections, and fills in defaults that nobody wants.
The rules are in `rules`; this module reads the file, finds lines and raises the error.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from orchestrator.base.errors import ClusterFileError
from orchestrator.cluster.file.rules import Versions, all_problems, missing_mounts
from orchestrator.cluster.ray_environment import loading_ray
from orchestrator.spec.problems import Problem

_Lines = dict[tuple[str, ...], int]


def versions_here() -> Versions:
    """Ray and Python of this installation."""
    return Versions(version("ray"), f"{sys.version_info.major}.{sys.version_info.minor}")


def check_cluster_file(path: Path, versions: Versions, folder: Path | None = None) -> None:
    """Check a file for `ray up`: our rules, then Ray's own.

    Args:
        path: The file.
        versions: Versions that nodes must have.
        folder: Where `ray up` will run; folders that it copies must exist. None: not checked.

    Raises:
        ClusterFileError: All problems that our rules found, or else the one that Ray found.
    """
    config, lines, problems = _read(path)
    problems += all_problems(config, versions)
    if folder is not None:
        problems += missing_mounts(config, folder)
    if not problems:
        # Imported late: it takes a second, and most mistakes are found without it.
        with loading_ray():
            from orchestrator.cluster.file.ray_check import ray_problem

        problems += filter(None, [ray_problem(config)])
    if problems:
        shown = sorted((_line(problem.path, lines), str(problem)) for problem in problems)
        raise ClusterFileError("\n".join(f"{path}:{line}: {text}" for line, text in shown))


def _read(path: Path) -> tuple[dict[str, Any], _Lines, list[Problem]]:
    """Content of the file as Ray reads it, the line of each key path, and repeated keys."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        lines: _Lines = {}
        # Before the content is built, because that resolves merge keys in place.
        problems = _walk(node, (), lines) if node else []
        config = loader.construct_document(node) if node else None
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterFileError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ClusterFileError(f"{path}: is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ClusterFileError(f"{path}: is not a cluster file; allowed: a mapping (key: value)")
    return config, lines, problems


def _walk(node: yaml.Node, path: tuple[str, ...], lines: _Lines) -> list[Problem]:
    """Note the line of every key path below a node; returns the repeated keys."""
    lines.setdefault(path, node.start_mark.line + 1)
    problems: list[Problem] = []
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            problems += _walk(item, (*path, str(index)), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            key_path = (*path, str(key.value))
            if key_path in lines:
                first = lines[key_path]
                message = f"found again, first in line {first}; Ray takes the last: keep one"
                problems.append(Problem(key_path, message))
            lines[key_path] = key.start_mark.line + 1
            problems += _walk(value, key_path, lines)
    return problems


def _line(path: Sequence[str], lines: _Lines) -> int:
    """Line of a key path, or of the nearest section around it that is in the file."""
    while tuple(path) not in lines and path:
        path = path[:-1]
    return lines.get(tuple(path), 1)

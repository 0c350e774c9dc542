"""What a cluster file must say beyond what Ray requires; each rule avoids a costly surprise."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from orchestrator.cluster.file.provider_keys import node_config_problems, provider_key_problems
from orchestrator.cluster.file.secrets import secret_problems
from orchestrator.cluster.file.token import token_problems
from orchestrator.spec.problems import Problem, shown

Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Versions:
    """Versions on the machine that runs `ray up`; Ray refuses nodes with other versions.

    Args:
        ray: Version of Ray, e.g. `2.60.0`.
        python: Version of Python, e.g. `3.11`.
    """

    ray: str
    python: str

    @property
    def image_tag(self) -> str:
        """Beginning of the tag of Ray's images, e.g. `2.60.0-py311`."""
        return f"{self.ray}-py{self.python.replace('.', '')}"


Rule: TypeAlias = Callable[[Config, Versions], Iterator[Problem]]

_COMMAND_KEYS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_IMAGE_KEYS = ("image", "head_image", "worker_image")
_MOVING_TAGS = re.compile(r"^(?:latest|nightly|master|main|stable)\b")
_RAY_IMAGE = re.compile(r"^(?:docker\.io/)?rayproject/ray(?:-\w+)?$")
_RAY_TAG = re.compile(r"^(?P<ray>\d+\.\d+\.\d+\w*)-py(?P<major>\d)(?P<minor>\d+)(?:-|$)")
_RAY_PIN = re.compile(r"\bray(?:\[[^\]]*\])?\s*==\s*([\w.]+)")
_CONSTRAINED = re.compile(r"(?:^|\s)(?:-c|--constraint)[= ]?\S*constraints\.txt")
_DASHBOARD_HOST = re.compile(r"--dashboard-host[= ]\s*[\"']?([^\s\"';]+)")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def all_problems(config: Config, versions: Versions) -> list[Problem]:
    """Problems of a cluster file that Ray may well accept."""
    return [problem for rule in _RULES for problem in rule(config, versions)]


def missing_mounts(config: Config, folder: Path) -> list[Problem]:
    """Mounts whose local folder does not exist; `ray up` notices it after starting the head.

    Args:
        config: The file's content.
        folder: Where `ray up` will run; relative paths start from it.
    """
    return [
        Problem(
            ("file_mounts", str(target)),
            f"{source} does not exist, seen from {folder}"
            + ("; `make wheel` makes it" if source == "dist" else ""),
        )
        for target, source in _section(config, "file_mounts").items()
        if not (folder / Path(str(source)).expanduser()).exists()
    ]


def _provider_keys(config: Config, _: Versions) -> Iterator[Problem]:
    yield from provider_key_problems(_section(config, "provider"))


def _node_configs(config: Config, _: Versions) -> Iterator[Problem]:
    if _provider(config) == "aws":
        for name, kind in _node_types(config):
            path = ("available_node_types", name, "node_config")
            yield from node_config_problems(kind.get("node_config"), path)


def _secrets(config: Config, _: Versions) -> Iterator[Problem]:
    yield from secret_problems(config)


def _whole_resources(config: Config, _: Versions) -> Iterator[Problem]:
    for name, kind in _node_types(config):
        for resource, amount in _section(kind, "resources").items():
            if isinstance(amount, bool) or not isinstance(amount, int):
                path = ("available_node_types", name, "resources", str(resource))
                yield Problem(path, f"found {shown(amount)}; allowed: a whole number")


def _limits(config: Config, _: Versions) -> Iterator[Problem]:
    """A cloud charges for forgotten machines, so they need limits; your own machines do not."""
    if _provider(config) == "local":
        return
    workers = config.get("max_workers")
    if isinstance(workers, bool) or not isinstance(workers, int):
        found = f"found {shown(workers)}" if "max_workers" in config else "missing"
        yield Problem(
            ("max_workers",), f"{found}; allowed: a whole number, the most workers ever paid for"
        )
    idle = config.get("idle_timeout_minutes")
    if isinstance(idle, bool) or not isinstance(idle, int | float) or not 0 < idle < float("inf"):
        found = f"found {shown(idle)}" if "idle_timeout_minutes" in config else "missing"
        yield Problem(
            ("idle_timeout_minutes",),
            f"{found}; allowed: a number > 0, the minutes after which an idle worker is ended",
        )
    if "min_workers" in config:
        yield Problem(
            ("min_workers",),
            "Ray silently ignores this; write it below each node type in available_node_types",
        )


def _injected_commands(config: Config, _: Versions) -> Iterator[Problem]:
    """Keys whose defaults on AWS do harm if the file leaves them out."""
    if _provider(config) != "aws":
        return
    if "setup_commands" not in config:
        yield Problem(
            ("setup_commands",),
            "missing; Ray would then install a nightly Ray for another Python: write "
            "setup_commands, [] if the image has all",
        )
    if "head_start_ray_commands" not in config:
        yield Problem(
            ("head_start_ray_commands",),
            "missing; Ray would then open the dashboard to the network: start Ray with "
            "--dashboard-host=127.0.0.1",
        )


def _dashboard(config: Config, _: Versions) -> Iterator[Problem]:
    for path, command in _commands(config):
        host = _DASHBOARD_HOST.search(command)
        if host and host[1] not in _LOOPBACK:
            yield Problem(
                path,
                f"found --dashboard-host={host[1]}, where anybody may run jobs; allowed: "
                "127.0.0.1, and `ray dashboard FILE` to reach it",
            )


def _token(config: Config, _: Versions) -> Iterator[Problem]:
    yield from token_problems(config)


def _images(config: Config, versions: Versions) -> Iterator[Problem]:
    docker = _section(config, "docker")
    for path, image in _image_paths(config):
        if message := _image_message(image, versions):
            yield Problem(path, message)
    if "image" not in docker and any(key in docker for key in _IMAGE_KEYS):
        yield Problem(
            ("docker", "image"),
            "missing; the autoscaler fails on head_image or worker_image alone: give both",
        )


def _ray_version(config: Config, versions: Versions) -> Iterator[Problem]:
    commands = list(_commands(config))
    for path, command in commands:
        for found in _RAY_PIN.findall(command):
            if found != versions.ray:
                yield Problem(path, f"installs Ray {found}; allowed: {versions.ray}, as here")
        if "ray-wheels/" in command:
            yield Problem(path, f"installs a nightly Ray; allowed: {versions.ray}, as here")
    is_fixed = any(_CONSTRAINED.search(text) or _RAY_PIN.search(text) for _, text in commands)
    if not is_fixed and not any(True for _ in _image_paths(config)):
        yield Problem(
            ("setup_commands",),
            "nothing fixes the version of Ray: install with --constraint .../constraints.txt, or "
            f"name an image, e.g. rayproject/ray:{versions.image_tag}-gpu",
        )


def _image_message(image: str, versions: Versions) -> str | None:
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    wanted = f"{versions.image_tag}-gpu"
    is_rays = _RAY_IMAGE.match(repository) is not None
    if digest and not tag:
        return None
    if not tag or _MOVING_TAGS.match(tag):
        example = f"rayproject/ray:{wanted}" if is_rays else f"{repository}:1.2.3"
        return (
            f"found {image}, which changes under the same name; allowed: a version, e.g. {example}"
        )
    if not is_rays:
        return None
    parts = _RAY_TAG.match(tag)
    if parts is None:
        return f"found {image}; allowed: versions of Ray and Python, e.g. rayproject/ray:{wanted}"
    found = Versions(parts["ray"], f"{parts['major']}.{parts['minor']}")
    if found == versions:
        return None
    return (
        f"found Ray {found.ray} with Python {found.python}; allowed: Ray {versions.ray} with "
        f"Python {versions.python}, as here, e.g. rayproject/ray:{wanted}"
    )


def _image_paths(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    sections: list[tuple[tuple[str, ...], Config]] = [(("docker",), _section(config, "docker"))]
    for name, kind in _node_types(config):
        sections.append((("available_node_types", name, "docker"), _section(kind, "docker")))
    for path, section in sections:
        for key in _IMAGE_KEYS:
            if section.get(key):
                yield (*path, key), str(section[key])


def _commands(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command of the file with its key path."""
    sections: list[tuple[tuple[str, ...], Config]] = [((), config)]
    sections += [(("available_node_types", name), kind) for name, kind in _node_types(config)]
    for path, section in sections:
        for key in _COMMAND_KEYS:
            for index, command in enumerate(section.get(key) or ()):
                yield (*path, key, str(index)), str(command)


def _provider(config: Config) -> str:
    return str(_section(config, "provider").get("type"))


def _node_types(config: Config) -> Iterator[tuple[str, Config]]:
    for name, kind in _section(config, "available_node_types").items():
        if isinstance(kind, Mapping):
            yield str(name), kind


def _section(config: Config, key: str) -> Config:
    """A section, empty if it is missing or no mapping; Ray's own check reports the latter."""
    section = config.get(key)
    return section if isinstance(section, Mapping) else {}


_RULES: tuple[Rule, ...] = (
    _provider_keys,
    _node_configs,
    _secrets,
    _limits,
    _whole_resources,
    _injected_commands,
    _dashboard,
    _token,
    _images,
    _ray_version,
)

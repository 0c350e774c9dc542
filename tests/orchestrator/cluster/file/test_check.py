"""Cluster files: the shipped ones are right, and each mistake is found and said."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml

from orchestrator import cli
from orchestrator.base.errors import ClusterFileError
from orchestrator.cluster.file.check import check_cluster_file, versions_here
from orchestrator.cluster.file.provider_keys import PROVIDER_KEYS
from orchestrator.cluster.file.rules import Versions
from tests.orchestrator.command_line import ROOT

GPU, ONPREM = ROOT / "cluster" / "gpu.yaml", ROOT / "cluster" / "onprem.yaml"
Edit = Callable[[dict[str, Any]], object]


def constrained_ray() -> str:
    text = (ROOT / "constraints.txt").read_text()
    found = re.search(r"^ray==(.+)$", text, flags=re.MULTILINE)
    assert found
    return found[1]


# The versions of constraints.txt are those of Python 3.11, whatever runs the tests.
VERSIONS = Versions(constrained_ray(), "3.11")


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def problems(path: Path, folder: Path | None = None) -> list[str]:
    """What is wrong with a file, without its name."""
    try:
        check_cluster_file(path, VERSIONS, folder)
    except ClusterFileError as error:
        return [line.removeprefix(f"{path}:") for line in str(error).split("\n")]
    return []


@pytest.mark.parametrize("path", [GPU, ONPREM], ids=lambda path: path.name)
def test_shipped_files_are_right(path: Path) -> None:
    assert problems(path) == []


def test_what_is_installed_is_what_the_files_ask_for() -> None:
    assert versions_here().ray == constrained_ray()


def test_the_head_computes_nothing_and_spot_workers_have_a_fallback() -> None:
    kinds = content(GPU)["available_node_types"]
    head = kinds.pop(content(GPU)["head_node_type"])
    assert (head["resources"]["CPU"], head["resources"]["GPU"]) == (0, 0)
    assert head["resources"]["train_driver"] > 0
    assert "InstanceMarketOptions" not in head["node_config"]
    spot = [k for k in kinds.values() if "InstanceMarketOptions" in k["node_config"]]
    fallback = [k for k in kinds.values() if "InstanceMarketOptions" not in k["node_config"]]
    assert len(spot) == len(fallback) == 1
    assert spot[0]["priority"] > fallback[0]["priority"]
    assert fallback[0]["max_workers"] > 0
    # The same machine, so that a trial takes as long and as much.
    assert {k["node_config"]["InstanceType"] for k in kinds.values()} == {
        spot[0]["node_config"]["InstanceType"]
    }


@pytest.mark.parametrize("path", [GPU, ONPREM], ids=lambda path: path.name)
def test_shipped_files_start_ray_as_wanted(path: Path) -> None:
    config = content(path)
    (head,) = [one for one in config["head_start_ray_commands"] if "ray start" in one]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "train_driver" in head or config["available_node_types"]["head"]["resources"]
    options = " ".join(config["docker"]["run_options"])
    token = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+)/auth_token", options)
    assert token
    assert config["file_mounts"][token[1]] == "~/.prvr-sweep/cluster"


def test_workers_that_may_go_have_the_agent() -> None:
    (agent,) = [one for one in content(GPU)["worker_start_ray_commands"] if "drain-agent" in one]
    found = re.match(r"nohup prvr-sweep (drain-agent) < /dev/null >> \S+ 2>&1 &$", agent)
    assert found
    assert cli.run([found[1], "--help"]) == 0


@pytest.mark.parametrize("path", [GPU, ONPREM], ids=lambda path: path.name)
def test_make_wheel_makes_what_the_nodes_install(path: Path) -> None:
    dry_run = ["make", "--dry-run", "--always-make", "wheel"]
    recipe = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    config = content(path)
    (mount,) = [there for there, here in config["file_mounts"].items() if here == "dist"]
    install = config["setup_commands"][0]
    assert f"--constraint {mount}/constraints.txt {mount}/*.whl" in install
    assert "pip wheel" in recipe
    assert "--wheel-dir dist ." in recipe
    assert "cp constraints.txt dist/" in recipe


def remove(*path: str) -> Edit:
    return lambda config: inside(config, path[:-1]).pop(path[-1])


def put(*path: str, value: object) -> Edit:
    return lambda config: inside(config, path[:-1]).__setitem__(path[-1], value)


def add(*path: str, value: object) -> Edit:
    return lambda config: inside(config, path).append(value)


def rename(*path: str, to: str) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        section = inside(config, path[:-1])
        section[to] = section.pop(path[-1])

    return edit


def inside(config: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401
    for key in path:
        config = config[int(key) if isinstance(config, list) else key]
    return config


SPOT = ("available_node_types", "gpu-spot")
NODE = (*SPOT, "node_config")
KEY_ID = "AKIA" + "IOSFODNN7EXAMPLE"
SECRET = "looks like {}; take it out of the file; mount it as a file of mode 600"
WHOLE = "a whole number, the most workers ever paid for"
MINUTES = "a number > 0, the minutes after which an idle worker is ended"

# What is done to the shipped file for AWS, and what is said, from the place on.
MISTAKES: dict[str, tuple[Edit, str]] = {
    "provider key": (
        rename("provider", "cache_stopped_nodes", to="cached_stopped_nodes"),
        "provider.cached_stopped_nodes: unknown key 'cached_stopped_nodes'; allowed: type, ",
    ),
    "nested provider key": (
        put("provider", "key_pair", value={"keyname": "me"}),
        "provider.key_pair.keyname: unknown key 'keyname'; allowed: key_name; did you mean key_na",
    ),
    "node key": (
        rename(*NODE, "InstanceMarketOptions", to="InstanceMarketOption"),
        "available_node_types.gpu-spot.node_config.InstanceMarketOption: unknown key "
        "'InstanceMarketOption'; allowed: what EC2's RunInstances takes; did you mean "
        "InstanceMarketOptions?",
    ),
    "nested node key": (
        put(*NODE, "InstanceMarketOptions", value={"MarketTyp": "spot"}),
        "available_node_types.gpu-spot.node_config.InstanceMarketOptions.MarketTyp: unknown key "
        "'MarketTyp'; allowed: MarketType, SpotOptions; did you mean MarketType?",
    ),
    "node key in a list": (
        rename(*NODE, "BlockDeviceMappings", "0", "Ebs", "VolumeSize", to="volume_size"),
        "available_node_types.gpu-spot.node_config.BlockDeviceMappings.0.Ebs.volume_size: unknown "
        "key 'volume_size'; allowed: ",
    ),
    "node value": (
        put(*NODE, "InstanceMarketOptions", "MarketType", value="spott"),
        "available_node_types.gpu-spot.node_config.InstanceMarketOptions.MarketType: found "
        "'spott'; allowed: spot, ",
    ),
    "no set-up": (
        remove("setup_commands"),
        "setup_commands: missing; Ray would then install a nightly Ray for another Python",
    ),
    "no start": (
        remove("head_start_ray_commands"),
        "head_start_ray_commands: missing; Ray would then open the dashboard to the network",
    ),
    "open dashboard": (
        put("head_start_ray_commands", value=["ray start --head --dashboard-host 0.0.0.0"]),
        "head_start_ray_commands.0: found --dashboard-host=0.0.0.0, where anybody may run jobs",
    ),
    "no token": (
        put("docker", "run_options", value=["--env RAY_AUTH_MODE=disabled"]),
        "no RAY_AUTH_MODE=token: put it into docker.run_options, or before `ray start` in ",
    ),
    "AWS key": (
        add("setup_commands", value=f"aws configure set aws_id {KEY_ID}"),
        "setup_commands.2: " + SECRET.format("an AWS access key"),
    ),
    "credentials": (
        put("provider", "aws_credentials", value={"aws_secret_access_key": "wJalrXUtnFEMI"}),
        "provider.aws_credentials.aws_secret_access_key: " + SECRET.format("a secret"),
    ),
    "token": (
        add("docker", "run_options", value="--env RAY_AUTH_TOKEN=wJalrXUtnFEMI"),
        "docker.run_options.3: " + SECRET.format("a secret"),
    ),
    "password in a URI": (
        add("setup_commands", value="export PRVR_STUDY=postgresql://me:wJalrXUtnFEMI@db/x"),
        "setup_commands.2: " + SECRET.format("a password in a URI"),
    ),
    "private key": (
        add("setup_commands", value="echo '-----BEGIN OPENSSH PRIVATE KEY-----' > key"),
        "setup_commands.2: " + SECRET.format("a private key"),
    ),
    "old min_workers": (
        put("min_workers", value=1),
        "min_workers: Ray silently ignores this; write it below each node type",
    ),
    "fraction of a resource": (
        put("available_node_types", "head", "resources", "train_driver", value=0.01),
        "available_node_types.head.resources.train_driver: found 0.01; allowed: a whole number",
    ),
    "truth as a resource": (
        put(*SPOT, "resources", value={"GPU": True}),
        "available_node_types.gpu-spot.resources.GPU: found true; allowed: a whole number",
    ),
    "latest image": (
        put("docker", "image", value="rayproject/ray:latest-gpu"),
        "docker.image: found rayproject/ray:latest-gpu, which changes under the same name; "
        f"allowed: a version, e.g. rayproject/ray:{VERSIONS.image_tag}-gpu",
    ),
    "image without a tag": (
        put("docker", "image", value="registry.example:5000/team/prvr"),
        "docker.image: found registry.example:5000/team/prvr, which changes under the same name; "
        "allowed: a version, e.g. registry.example:5000/team/prvr:1.2.3",
    ),
    "image without Python": (
        put("docker", "image", value=f"rayproject/ray:{VERSIONS.ray}-gpu"),
        f"docker.image: found rayproject/ray:{VERSIONS.ray}-gpu; allowed: versions of Ray and ",
    ),
    "other Ray": (
        put("docker", "head_image", value="rayproject/ray:2.9.0-py311-cpu"),
        "docker.head_image: found Ray 2.9.0 with Python 3.11; allowed: Ray "
        f"{VERSIONS.ray} with Python 3.11, as here",
    ),
    "other Python in a node type": (
        put(*SPOT, "docker", value={"worker_image": f"rayproject/ray:{VERSIONS.ray}-py310-gpu"}),
        f"available_node_types.gpu-spot.docker.worker_image: found Ray {VERSIONS.ray} with Python "
        f"3.10; allowed: Ray {VERSIONS.ray} with Python 3.11",
    ),
    "head image alone": (
        rename("docker", "image", to="worker_image"),
        "docker.image: missing; the autoscaler fails on head_image or worker_image alone",
    ),
    "Ray installed otherwise": (
        add("head_setup_commands", value="pip install 'ray[default]==2.9.0'"),
        f"head_setup_commands.1: installs Ray 2.9.0; allowed: {VERSIONS.ray}, as here",
    ),
    "nightly Ray": (
        add(
            "setup_commands",
            value="pip install https://s3-us-west-2.amazonaws.com/ray-wheels/latest/ray.whl",
        ),
        f"setup_commands.2: installs a nightly Ray; allowed: {VERSIONS.ray}, as here",
    ),
    "no maximum": (remove("max_workers"), f"max_workers: missing; allowed: {WHOLE}"),
    "infinite maximum": (
        put("max_workers", value=float("inf")),
        f"max_workers: found Infinity; allowed: {WHOLE}",
    ),
    "no idle time": (
        remove("idle_timeout_minutes"),
        f"idle_timeout_minutes: missing; allowed: {MINUTES}",
    ),
    "endless idle time": (
        put("idle_timeout_minutes", value=float("inf")),
        f"idle_timeout_minutes: found Infinity; allowed: {MINUTES}",
    ),
    # Ray's own.
    "unknown section": (
        rename("file_mounts", to="file_mount"),
        "refused by Ray: Additional properties are not allowed ('file_mount' was unexpected)",
    ),
    "head of no type": (
        put("head_node_type", value="haed"),
        "refused by Ray: `head_node_type` must be one of `available_node_types`.",
    ),
}


def edited(path: Path, edit: Edit, folder: Path) -> Path:
    config = content(path)
    edit(config)
    target = folder / "broken.yaml"
    target.write_text(yaml.safe_dump(config, sort_keys=False, width=1000))
    return target


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    edit, message = MISTAKES[name]
    (found,) = problems(edited(GPU, edit, tmp_path))
    line, _, said = found.partition(": ")
    assert said.startswith(message)
    assert line.isdecimal()


@pytest.mark.parametrize("name", [name for name, value in MISTAKES.items() if "looks" in value[1]])
def test_secrets_are_not_repeated(name: str, tmp_path: Path) -> None:
    text = "\n".join(problems(edited(GPU, MISTAKES[name][0], tmp_path)))
    assert not any(secret in text for secret in (KEY_ID, "wJalr", "BEGIN"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            rename("provider", "worker_ips", to="worker_ip"),
            "provider.worker_ip: unknown key 'worker_ip'; allowed: type, ",
        ),
        (
            put("docker", value={}),
            "no RAY_AUTH_MODE=token: put it into docker.run_options, or ",
        ),
        (remove("provider", "worker_ips"), "refused by Ray: "),
    ],
    ids=["misspelt key", "no token", "Ray's own"],
)
def test_mistakes_with_own_machines(edit: Edit, message: str, tmp_path: Path) -> None:
    (found,) = problems(edited(ONPREM, edit, tmp_path))
    assert found.partition(": ")[2].startswith(message)


def test_without_an_image_something_else_fixes_the_version(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["docker"] = {}
        keep = "echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"
        config["setup_commands"] = [f"{keep}; pip install prvr-sweep"]

    (found,) = problems(edited(ONPREM, edit, tmp_path))
    assert "nothing fixes the version of Ray: install with --constraint" in found


def test_all_mistakes_come_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = GPU.read_text().replace("region:", "regoin:").replace("MarketType:", "MarketTyp:")
    path = tmp_path / "two.yaml"
    path.write_text(text.replace("max_workers: 8\nidle", "idle"))
    lines = path.read_text().splitlines()
    found = problems(path)
    assert [line.split(": ")[1] for line in found[1:]] == [
        "provider.regoin",
        "available_node_types.gpu-spot.node_config.InstanceMarketOptions.MarketTyp",
    ]
    assert "max_workers: missing" in found[0]
    for line, word in zip(found[1:], ("regoin:", "MarketTyp:"), strict=True):
        assert word in lines[int(line.split(":")[0]) - 1]


def test_a_key_that_stands_twice_is_found(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(GPU.read_text() + "max_workers: 80\n")
    first = GPU.read_text().splitlines().index("max_workers: 8") + 1
    (found,) = problems(path)
    assert f": max_workers: found again, first in line {first}; Ray takes the last" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "is not a cluster file; allowed: a mapping"),
        ("a: [", "is not YAML"),
        ("", "is no"),
    ],
)
def test_what_is_no_cluster_file(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ClusterFileError, match=rf"other\.yaml: {message}"):
        check_cluster_file(path, VERSIONS)
    with pytest.raises(ClusterFileError, match=r"none\.yaml: cannot be read"):
        check_cluster_file(tmp_path / "none.yaml", VERSIONS)


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which all that gpu.yaml copies is there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place in ("dist", "search_spaces", "home/.prvr-sweep/cluster"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_to_be_copied_must_be_there(ready: Path) -> None:
    assert problems(GPU, ready) == []
    (ready / "dist").rmdir()
    (ready / "home/.prvr-sweep/cluster").rmdir()
    found = problems(GPU, ready)
    assert len(found) == 2
    assert f"/home/ray/prvr-sweep: dist does not exist, seen from {ready}; `make wheel`" in found[0]
    assert "~/.prvr-sweep/cluster does not exist" in found[1]


def test_the_command(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.cluster.file.check.versions_here", lambda: VERSIONS)
    assert cli.run(["cluster", "check", str(GPU)]) == 0
    assert capsys.readouterr().out == f"{GPU}: nothing wrong\n"
    (ready / "dist").rmdir()
    assert cli.run(["cluster", "check", str(GPU)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {GPU}:")


@pytest.mark.parametrize("kind", ["aws", "local"])
def test_our_list_holds_what_rays_providers_read(kind: str) -> None:
    base = Path(ray.autoscaler.__file__).parent / "_private"
    shared = [base / name for name in ("commands.py", "updater.py", "providers.py", "util.py")]
    files = [*shared, *(base / kind).glob("*.py")]
    read = re.compile(
        r"(?:provider_config|provider_cfg|\[.provider.\]|\(.provider., \{\}\))"
        r"(?:\.get\(|\[)[\"']([a-z_]+)[\"']"
    )
    names = {name for file in files for name in read.findall(file.read_text())}
    # Of the coordinator's own, of plug-ins of one's own, and Ray's note to itself.
    names -= {"list_of_node_ips", "module", "_config_cache_path"}
    assert len(names) >= 5
    assert names <= set(PROVIDER_KEYS[kind])

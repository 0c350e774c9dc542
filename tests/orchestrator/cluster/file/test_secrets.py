"""Secrets in the commands of a cluster file, and what only names one."""

from pathlib import Path

import pytest

from tests.orchestrator.cluster.file.test_check import GPU, SECRET, add, edited, problems

WRITTEN = SECRET.format("a secret written into a file")
GIVEN = SECRET.format("a secret given to a command")
HEADER = SECRET.format("a secret in a header")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo wJalr > ~/.ray/auth_token", WRITTEN),
        ("mkdir -p ~/.ray; echo -n 'wJalr' >> ~/.ray/auth_token; ray stop", WRITTEN),
        ('printf "%s\\n" wJalr | sudo tee -a "/home/ray/.ray/auth_token"', WRITTEN),
        ("echo machine db login me password wJalr > ~/.netrc", WRITTEN),
        ("tee ~/.ray/auth_token <<< wJalr", WRITTEN),
        ("docker login -u me -p wJalr registry.example", GIVEN),
        ("docker login -u me -pwJalr registry.example", GIVEN),
        ("docker login --username me --password 'wJalr'", GIVEN),
        ("echo wJalr | docker login -u me --password-stdin", GIVEN),
        ("docker login -u me --password-stdin <<< wJalr", GIVEN),
        ("sshpass -p wJalr ssh me@db", GIVEN),
        ("curl --user me:wJalr http://127.0.0.1:5000", GIVEN),
        ("wandb login --relogin " + "wJalr012" * 5, GIVEN),
        ("huggingface-cli login --token wJalr", GIVEN),
        ("aws configure set aws_secret_access_key wJalr", GIVEN),
        ("curl -H 'Authorization: Bearer wJalr' http://127.0.0.1:5000", HEADER),
        ('curl -H "authorization:basic wJalr" http://127.0.0.1:5000', HEADER),
        ("git clone https://example.org/hf_" + "wJalr012" * 4, SECRET.format("an access token")),
    ],
)
def test_secrets_in_commands(command: str, message: str, tmp_path: Path) -> None:
    (found,) = problems(edited(GPU, add("setup_commands", value=command), tmp_path))
    assert found.partition(": ")[2].startswith(f"setup_commands.2: {message}")
    assert "wJalr" not in found


@pytest.mark.parametrize(
    "value",
    [
        "export RAY_AUTH_TOKEN=$RAY_AUTH_TOKEN",
        'export AWS_SECRET_ACCESS_KEY="$KEY"',
        "export RAY_AUTH_TOKEN_PATH=/home/ray/token",
        "curl http://127.0.0.1:5000/a@b",
        "psql postgresql://me:$PASSWORD@db/x",
        "echo token mode is on: no password needed",
        "echo $TOKEN > ~/.ray/auth_token",
        'printf "%s" "${TOKEN}" | sudo tee -a ~/.ray/auth_token',
        'echo "$(aws ssm get-parameter --name token)" > ~/.ray/auth_token',
        'echo "machine db login me password $PASSWORD" > ~/.netrc',
        "cp /mnt/auth_token ~/.ray/auth_token; echo done > /tmp/token.log",
        "echo '' > ~/.ray/auth_token && chmod 600 ~/.ray/auth_token",
        'docker login -u me -p "$PASSWORD" registry.example && docker run -p 80:80 web',
        "docker login -u AWS -p $(aws ecr get-login-password) registry.example",
        "docker login -u me -p `cat /mnt/word` registry.example",
        "docker login -u me --password $PASSWORD",
        "docker login -u me --password-stdin registry.example < /mnt/word",
        "aws ecr get-login-password | docker login -u AWS --password-stdin registry.example",
        'echo "$PASSWORD" | docker login -u me --password-stdin registry.example',
        'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:5000',
        "curl -H 'Authorization: Bearer '$TOKEN http://127.0.0.1:5000",
        "curl -u me:$PASSWORD http://127.0.0.1:5000",
        "wandb login $WANDB_API_KEY",
        "wandb login --relogin && pip install something",
        "huggingface-cli login --token $(cat /mnt/hf)",
        "mlserver --token /mnt/auth_token --token-file /mnt/auth_token",
        "docker build --secret id=word,src=/mnt/word .",
        "aws configure set aws_secret_access_key $KEY",
    ],
)
def test_what_only_names_a_secret_may_stay(value: str, tmp_path: Path) -> None:
    assert problems(edited(GPU, add("setup_commands", value=value), tmp_path)) == []

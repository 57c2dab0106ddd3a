"""Settings come from the environment, and all mistakes are reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.errors import ConfigurationError
from services.settings import Settings, load

GOOD = {
    "DOORBELL_BROKER_URL": "pyamqp://a:b@broker/doorbell",
    "DOORBELL_DATABASE_URL": "postgresql://a@db/doorbell",
}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(environ)
    return str(caught.value).splitlines()


def test_the_least_that_is_needed() -> None:
    """Two addresses; everything else has a default that is safe on a laptop."""
    settings = load(GOOD)

    assert settings == Settings(
        broker_url=GOOD["DOORBELL_BROKER_URL"], database_url=GOOD["DOORBELL_DATABASE_URL"]
    )
    assert settings.listen_host == settings.metrics_host == "127.0.0.1"
    assert settings.allowed_private_hosts == ()


def test_every_setting() -> None:
    """Each has its own type; other programs' variables are none of ours."""
    settings = load(
        GOOD
        | {
            "OUTLIER_API_URL": "https://scores.example",
            "DOORBELL_OUTLIER_API_KEY": "k",
            "DOORBELL_SMTP_URL": "smtp://mail:25",
            "DOORBELL_MAIL_FROM": "bell@example.org",
            "DOORBELL_METRICS_PORT": "9100",
            "DOORBELL_LISTEN_PORT": "80",
            "DOORBELL_ALLOWED_PRIVATE_HOSTS": "hooks.internal, ,10.0.0.7",
            "DOORBELL_HOST_NAME": "h1",
            "HOME": "/root",
        }
    )

    assert settings.outlier_api_url == "https://scores.example"
    assert settings.metrics_port == 9100
    assert settings.listen_port == 80
    assert settings.allowed_private_hosts == ("hooks.internal", "10.0.0.7")
    assert settings.host_name == "h1"


def test_all_mistakes_at_once() -> None:
    """One line each, with the variable's name first."""
    found = problems(
        {
            "DOORBELL_BROKER_URL": "amqp://broker",
            "DOORBELL_LISTEN_PORT": "eighty",
            "DOORBELL_LOG_LEVEL": "info",
            "DOORBELL_LISTEN_PROT": "80",
            "DOORBELL_SMTP_URL_FILE": "/no/such/file",
        }
    )

    assert found == [
        "DOORBELL_SMTP_URL_FILE: cannot read /no/such/file: No such file or directory",
        "DOORBELL_LISTEN_PROT is not a setting of Doorbell: check its spelling",
        "DOORBELL_BROKER_URL: must start with pyamqp://",
        "DOORBELL_LISTEN_PORT: 'eighty' is not a port",
        "DOORBELL_LOG_LEVEL: 'info' is none of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        "DOORBELL_DATABASE_URL (or DOORBELL_DATABASE_URL_FILE) is not set",
    ]


def test_a_heartbeat_needs_a_directory(tmp_path: Path) -> None:
    """Said at start; a process whose heartbeat cannot be written would look dead from outside."""
    file = str(tmp_path / "worker")
    assert load(GOOD | {"DOORBELL_HEARTBEAT_FILE": file}).heartbeat_file == file
    [line] = problems(GOOD | {"DOORBELL_HEARTBEAT_FILE": f"{tmp_path}/missing/worker"})
    assert line == (
        f"DOORBELL_HEARTBEAT_FILE: {tmp_path}/missing is no directory that this process can write to"
    )


@pytest.mark.parametrize(
    "url",
    [
        # Celery would take librabbitmq for it where that is importable.
        "amqp://a:b@broker/x",
        # No TLS in disguise either.
        "amqps://a:b@broker/x",
        # Another transport has neither confirms nor dead letters.
        "redis://broker/0",
        "memory://",
        "broker:5672",
    ],
)
def test_only_pyamqp(url: str) -> None:
    """Every other broker address is refused."""
    assert problems(GOOD | {"DOORBELL_BROKER_URL": url}) == [
        "DOORBELL_BROKER_URL: must start with pyamqp://"
    ]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80.5", ""])
def test_ports(port: str) -> None:
    """A port is a number that can be bound."""
    (line,) = problems(GOOD | {"DOORBELL_METRICS_PORT": port})
    assert line == f"DOORBELL_METRICS_PORT: {port!r} is not a port"


def test_secrets_from_files(tmp_path: Path) -> None:
    """`_FILE` names a file whose content, without the final line break, is the value."""
    file = tmp_path / "broker"
    file.write_text("pyamqp://a:secret@broker/doorbell\n")
    settings = load(
        {
            "DOORBELL_BROKER_URL_FILE": str(file),
            "DOORBELL_DATABASE_URL": GOOD["DOORBELL_DATABASE_URL"],
        }
    )

    assert settings.broker_url == "pyamqp://a:secret@broker/doorbell"


def test_a_secret_twice(tmp_path: Path) -> None:
    """Value and file together are a mistake: nobody could tell which counts."""
    file = tmp_path / "broker"
    file.write_text(GOOD["DOORBELL_BROKER_URL"])

    assert problems(GOOD | {"DOORBELL_BROKER_URL_FILE": str(file)}) == [
        "DOORBELL_BROKER_URL and DOORBELL_BROKER_URL_FILE are both set: keep one"
    ]


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    """`DOORBELL_LISTEN_PORT_FILE` is a spelling mistake like any other."""
    (line,) = problems(GOOD | {"DOORBELL_LISTEN_PORT_FILE": str(tmp_path)})
    assert line.startswith("DOORBELL_LISTEN_PORT_FILE is not a setting")


def test_a_wrong_value_is_not_repeated() -> None:
    """An address holds a password: the message names the variable and not its content."""
    (line,) = problems(GOOD | {"DOORBELL_DATABASE_URL": "mysql://root:hunter2@db"})
    assert "hunter2" not in line

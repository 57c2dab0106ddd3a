"""Where the command finds the services."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.endpoints import find, read, without_credentials
from services.domain.errors import ConfigurationError

LOCAL = {
    "gateway": "http://127.0.0.1:8000",
    "database_url": "postgresql://127.0.0.1/doorbell",
    "broker_url": "pyamqp://operator:x@127.0.0.1/doorbell",
    "rabbitmq_management": "http://operator:x@127.0.0.1:15672",
    "api_key": "k",
    "mail_directory": "/somewhere",
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a local cluster, and an environment that says nothing."""
    for name in ("DATABASE_URL", "BROKER_URL", "DATABASE_URL_FILE", "BROKER_URL_FILE"):
        monkeypatch.delenv(f"DOORBELL_{name}", raising=False)
    monkeypatch.delenv("OUTLIER_API_URL", raising=False)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "endpoints.json").write_text(json.dumps(LOCAL))
    return tmp_path


def test_the_local_cluster_is_found_from_below(cluster: Path) -> None:
    """Any directory of the checkout will do."""
    below = cluster / "a" / "b"
    below.mkdir(parents=True)
    found = find(below)
    assert found.gateway == LOCAL["gateway"]
    assert found.api_key == "k"
    assert found.smtp_url is None
    assert found.source == str(cluster / ".local" / "endpoints.json")


def test_the_environment_goes_first(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets addresses means them, also inside a checkout."""
    monkeypatch.setenv("DOORBELL_DATABASE_URL", "postgresql://elsewhere/doorbell")
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://elsewhere/doorbell")
    found = find(cluster)
    assert found.database_url == "postgresql://elsewhere/doorbell"
    assert found.gateway is None


def test_the_environment_may_name_what_only_operators_ask(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the broker's management it gives the address alone: who asks is who calls the broker."""
    monkeypatch.setenv("DOORBELL_DATABASE_URL", "postgresql://elsewhere/doorbell")
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://operator:p%40ss@elsewhere:5672/doorbell")
    monkeypatch.setenv("DOORBELL_MANAGEMENT_URL", "http://elsewhere:15672")
    monkeypatch.setenv("DOORBELL_GATEWAY_URL", "http://door:8000/")
    found = find(cluster)
    assert found.rabbitmq_management == "http://operator:p%40ss@elsewhere:15672"
    assert found.gateway == "http://door:8000"
    monkeypatch.setenv("DOORBELL_MANAGEMENT_URL", "elsewhere:15672")
    with pytest.raises(ConfigurationError, match="DOORBELL_MANAGEMENT_URL"):
        find(cluster)


def test_half_an_environment_is_a_mistake(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not silently fall back to another cluster."""
    monkeypatch.setenv("DOORBELL_DATABASE_URL", "postgresql://elsewhere/doorbell")
    with pytest.raises(ConfigurationError, match="DOORBELL_BROKER_URL"):
        find(cluster)


def test_nothing_anywhere_says_both_ways_out(cluster: Path, tmp_path: Path) -> None:
    """The message names the variables and the command that makes a cluster."""
    (cluster / ".local" / "endpoints.json").unlink()
    with pytest.raises(ConfigurationError, match=r"DOORBELL_DATABASE_URL.*make up"):
        find(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"database_url": "x"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """The message says which file, and what writes it again."""
    path = tmp_path / "endpoints.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"endpoints\.json is damaged .*make up"):
        read(path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://u:p@h:1/x", ("http://h:1/x", "u", "p")),
        ("http://u%40x:p%2F@h", ("http://h", "u@x", "p/")),
        ("http://h:1", ("http://h:1", None, None)),
        ("pyamqp://u:p@[::1]:5672/v", ("pyamqp://[::1]:5672/v", "u", "p")),
    ],
)
def test_credentials_are_taken_out_of_an_address(
    url: str, expected: tuple[str, str | None, str | None]
) -> None:
    """No password is printed with an address."""
    assert without_credentials(url) == expected

"""Where the services are: the environment, or else the local cluster that the command is run in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from services import settings
from services.broker_tls import BrokerTls
from services.domain.errors import ConfigurationError

LOCAL_FILE = Path(".local") / "endpoints.json"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses with their credentials; None: not known here.

    `source` says where they are from, `local_logs` where the log is, if that is a local cluster.
    """

    source: str
    database_url: str
    broker_url: str
    outlier_api: str | None = None
    smtp_url: str | None = None
    gateway: str | None = None
    api_key: str | None = None
    rabbitmq_management: str | None = None
    broker_tls: BrokerTls | None = None
    local_logs: Path | None = None


def find(directory: Path | None = None) -> Endpoints:
    """The environment's when any of it is set, else those of `.local/endpoints.json` here or above.

    Raises:
        ConfigurationError: neither is there, or one is wrong.
    """
    try:
        found = settings.load()
    except ConfigurationError as error:
        if str(error) != _complaint_about_nothing():
            raise
    else:
        return Endpoints(
            "the environment",
            found.database_url,
            found.broker_url,
            found.outlier_api_url,
            found.smtp_url,
            found.gateway_url.rstrip("/") if found.gateway_url else None,
            rabbitmq_management=_as_the_brokers_user(found.management_url, found.broker_url),
            broker_tls=found.broker_tls,
        )
    start = (directory or Path.cwd()).resolve()
    for place in (start, *start.parents):
        if (place / LOCAL_FILE).is_file():
            return read(place / LOCAL_FILE)
    raise ConfigurationError(
        "DOORBELL_DATABASE_URL and DOORBELL_BROKER_URL are not set, and there is no"
        f" {LOCAL_FILE} in {start} or above it: set them, or run this in a checkout whose local"
        " cluster is up (make up)"
    )


def read(path: Path) -> Endpoints:
    """The endpoints of a local cluster.

    Raises:
        ConfigurationError: the file is not what `make up` writes.
    """
    try:
        value: Any = json.loads(path.read_text())
        return Endpoints(
            str(path),
            value["database_url"],
            value["broker_url"],
            value.get("outlier_api"),
            value.get("smtp_url"),
            value.get("gateway"),
            value.get("api_key"),
            value.get("rabbitmq_management"),
            local_logs=path.parent / "logs",
        )
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged ({error}): run make up again") from error


def without_credentials(url: str) -> tuple[str, str | None, str | None]:
    """A URL, the user and the password that stood in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return parts._replace(netloc=host).geturl(), user, password


def _as_the_brokers_user(management_url: str | None, broker_url: str) -> str | None:
    if management_url is None:
        return None
    parts, user = urlsplit(management_url), urlsplit(broker_url).netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _complaint_about_nothing() -> str:
    try:
        settings.load({})
    except ConfigurationError as error:
        return str(error)
    return ""

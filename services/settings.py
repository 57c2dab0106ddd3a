"""The settings of a process: read once from the environment, all mistakes reported together."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from services.broker_tls import BrokerTls, read_tls, tls_variables
from services.domain.errors import ConfigurationError

_SECRETS = ("broker_url", "database_url", "outlier_api_key", "smtp_url")

_MOST_DAYS = 36_500
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

ACTOR_VARIABLE = "DOORBELL_ACTOR"
"""Who gives an operator's command, where that cannot be seen from its process."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between environments; the shape of the system stands in routing/topology.yml.

    Each field is read from `DOORBELL_<FIELD>`, and each of the secret ones also
    from the file named by `DOORBELL_<FIELD>_FILE`; the outlier API's address is
    `OUTLIER_API_URL`, and TLS with the broker is described by `DOORBELL_BROKER_...`,
    one variable for each field of `BrokerTls`. Nothing secret has a default.
    `management_url` (the broker's, whose user and password are those of `broker_url`)
    and `gateway_url` are for operators' commands alone. `public_url` is where users reach the gateway, for
    links in notices; without it notices have none. After `keep_addresses_days` a login's address is truncated
    and its mail address forgotten, after `keep_logins_days` it is deleted; 0: never.
    """

    broker_url: str
    database_url: str
    outlier_api_url: str | None = None
    outlier_api_key: str | None = None
    smtp_url: str | None = None
    mail_from: str = "doorbell@localhost.localdomain"
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    listen_host: str = "127.0.0.1"
    listen_port: int = 8000
    allowed_private_hosts: tuple[str, ...] = ()
    network_databases: tuple[str, ...] = ()
    host_name: str = socket.gethostname()
    log_level: str = "INFO"
    heartbeat_file: str | None = None
    management_url: str | None = None
    gateway_url: str | None = None
    public_url: str | None = None
    keep_addresses_days: int = 30
    keep_logins_days: int = 400
    failpoints: str = ""
    broker_tls: BrokerTls | None = None


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: with one line for every wrong, missing or unknown variable.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    raw = _collect(environ, problems)
    values: dict[str, object] = {}
    for name, text in raw.items():
        try:
            values[name] = _convert(name, text)
        except ValueError as error:
            problems.append(f"{_variable(name)}: {error}")
    problems.extend(
        f"{_variable(name)} (or {_variable(name)}_FILE) is not set"
        for name in ("broker_url", "database_url")
        if name not in raw
    )
    tls = read_tls(environ, _host(raw.get("broker_url", "")), problems)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Settings(broker_tls=tls, **values)  # type: ignore[arg-type]  # _convert gives each field its type


def load_observer(environ: Mapping[str, str] | None = None) -> Settings:
    """The broker's address and TLS, and how to log, for a program of others that needs no more.

    Raises:
        ConfigurationError: as `load`, and a database's address is not needed.
    """
    environ = os.environ if environ is None else environ
    needed = ("DOORBELL_BROKER_", "DOORBELL_HOST_NAME", "DOORBELL_LOG_LEVEL")
    wanted = {name: value for name, value in environ.items() if name.startswith(needed)}
    return load({"DOORBELL_DATABASE_URL": "postgresql:", **wanted})


def environment() -> Mapping[str, str]:
    """The environment as it is, for a program that looks at a process and must not fail over its settings."""
    return os.environ


def _host(broker_url: str) -> str | None:
    try:
        return urlsplit(broker_url).hostname
    except ValueError:
        return None


def _variable(name: str) -> str:
    return "OUTLIER_API_URL" if name == "outlier_api_url" else f"DOORBELL_{name.upper()}"


def _collect(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    raw: dict[str, str] = {}
    known: set[str] = {*tls_variables(), ACTOR_VARIABLE}
    for field in fields(Settings):
        if field.name == "broker_tls":
            continue
        variable = _variable(field.name)
        known.add(variable)
        if variable in environ:
            raw[field.name] = environ[variable]
        if field.name not in _SECRETS:
            continue
        known.add(variable + "_FILE")
        if path := environ.get(variable + "_FILE"):
            if variable in environ:
                problems.append(f"{variable} and {variable}_FILE are both set: keep one")
            try:
                raw[field.name] = Path(path).read_text().strip()
            except OSError as error:
                problems.append(f"{variable}_FILE: cannot read {path}: {error.strerror}")
                raw[field.name] = ""
    problems.extend(
        f"{name} is not a setting of Doorbell: check its spelling"
        for name in sorted(environ)
        if name.startswith("DOORBELL_") and name not in known
    )
    return raw


def _check_address(name: str, text: str) -> None:
    if not text and name in ("broker_url", "database_url"):
        # Celery would fall back to a guest on the local host.
        raise ValueError("is empty")
    if name == "broker_url" and text and urlsplit(text).scheme != "pyamqp":
        # amqp:// switches silently to librabbitmq where that is importable.
        raise ValueError("must start with pyamqp://")
    if name == "database_url" and text and not urlsplit(text).scheme.startswith("postgres"):
        raise ValueError("must start with postgresql://")
    if name == "public_url" and text and not re.fullmatch(r"https?://[^\s/?#@]+", text):
        raise ValueError("must be http://HOST or https://HOST, without a path")
    if name in ("management_url", "gateway_url") and not text.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")


def _check(name: str, text: str) -> None:
    _check_address(name, text)
    if name == "log_level" and text not in _LOG_LEVELS:
        raise ValueError(f"{text!r} is none of {', '.join(_LOG_LEVELS)}")
    if name == "heartbeat_file" and not os.access(Path(text).parent, os.W_OK):
        raise ValueError(f"{Path(text).parent} is no directory that this process can write to")


def _convert(name: str, text: str) -> object:
    _check(name, text)
    if name in ("metrics_port", "listen_port"):
        if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
            raise ValueError(f"{text!r} is not a port")
        return int(text)
    if name in ("keep_addresses_days", "keep_logins_days"):
        if not (text.isascii() and text.isdigit()) or int(text) > _MOST_DAYS:
            raise ValueError(f"{text!r} is no number of days from 0 to {_MOST_DAYS:,}")
        return int(text)
    if name == "public_url":
        return text or None
    if name in ("allowed_private_hosts", "network_databases"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text

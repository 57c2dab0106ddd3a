"""RabbitMQ's management interface, as far as verifying needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests

from services.domain.errors import ConfigurationError, Refused, Unavailable

Rows = list[dict[str, Any]]


class Api(Protocol):
    """Lists what a broker has. `user` is the account that asks."""

    @property
    def user(self) -> str: ...

    def rows(self, *path: str) -> Rows:
        """Return the rows of a collection, such as ("queues", "doorbell").

        Raises:
            Refused: the account may not read it.
            Unavailable: the broker did not answer.
        """


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """For https: the CA that the broker's certificate must be from, and our own, if it wants one."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def problem(self) -> str | None:
        """What is wrong with them."""
        if (self.certificate is None) != (self.key is None):
            return "a certificate and its key go together: give both or neither"
        for path in (self.ca, self.certificate, self.key):
            try:
                if path is not None:
                    path.read_bytes()
            except OSError as error:
                return f"{path} cannot be read: {error.strerror}"
        return None


class ManagementApi:
    """The HTTP interface of a broker."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        tls: TlsFiles | None = None,
        timeout_seconds: float = 30,
    ) -> None:
        """Remember where and who; nothing is asked yet.

        Raises:
            ConfigurationError: the address is none of http or https, or a file cannot be used.
        """
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ConfigurationError(f"{url!r} is no address: write http://host:15672 or https://…")
        tls = tls or TlsFiles()
        if problem := tls.problem():
            raise ConfigurationError(problem)
        self._verify = str(tls.ca) if tls.ca else True
        self._certificate = (
            (str(tls.certificate), str(tls.key)) if tls.certificate and tls.key else None
        )
        self._url = url.rstrip("/")
        self.user = user
        self._password = password
        self._timeout = timeout_seconds

    def rows(self, *path: str) -> Rows:
        where = "/".join(quote(part, safe="") for part in path)
        found = self._get(where)
        if not isinstance(found, list):
            raise Unavailable(f"{self._url} did not list {where}: is it RabbitMQ's management?")
        return found

    def alarms(self) -> Rows:
        """Return the alarms of the cluster's nodes: `node`, and the `resource` that it is short of.

        Raises:
            Refused: the account may not read it.
            Unavailable: the broker did not answer.
        """
        found = self._get("health/checks/alarms", and_status=503)
        if not isinstance(found, dict) or "status" not in found:
            raise Unavailable(f"{self._url} told no alarms: is it RabbitMQ's management?")
        return list(found.get("alarms", []))

    def _get(self, where: str, and_status: int = 200) -> Any:
        try:
            answer = requests.get(
                f"{self._url}/api/{where}",
                auth=(self.user, self._password),
                timeout=self._timeout,
                verify=self._verify,
                cert=self._certificate,
            )
            if answer.status_code in (401, 403):
                raise Refused(f"user {self.user} may not read {where} at {self._url}")
            if answer.status_code != and_status:
                answer.raise_for_status()
            return answer.json()
        except (requests.RequestException, OSError) as error:
            # A file that is no certificate shows when it is used.
            raise Unavailable(f"{self._url} did not list {where}: {error}") from error

"""RabbitMQ's management interface, as far as verifying needs it."""

from __future__ import annotations

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


class ManagementApi:
    """The HTTP interface of a broker."""

    def __init__(self, url: str, user: str, password: str, timeout_seconds: float = 30) -> None:
        """Remember where and who; nothing is asked yet.

        Raises:
            ConfigurationError: the address is none of http or https.
        """
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ConfigurationError(f"{url!r} is no address: write http://host:15672 or https://…")
        self._url = url.rstrip("/")
        self.user = user
        self._password = password
        self._timeout = timeout_seconds

    def rows(self, *path: str) -> Rows:
        where = "/".join(quote(part, safe="") for part in path)
        try:
            answer = requests.get(
                f"{self._url}/api/{where}", auth=(self.user, self._password), timeout=self._timeout
            )
            if answer.status_code in (401, 403):
                raise Refused(f"user {self.user} may not read {where} at {self._url}")
            answer.raise_for_status()
            found = answer.json()
        except requests.RequestException as error:
            raise Unavailable(f"{self._url} did not list {where}: {error}") from error
        if not isinstance(found, list):
            raise Unavailable(f"{self._url} did not list {where}: is it RabbitMQ's management?")
        return found

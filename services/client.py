"""For applications: reports logins and reads switches over HTTP, and lets users in when Doorbell does not answer.

It needs `requests` and nothing else of Doorbell: copy the file, or install the package.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from time import monotonic
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager, Timeout

logger = logging.getLogger(__name__)

COOKIE_SECONDS = 400 * 86_400
"""For how long a device is to keep its cookie after each login: the most that browsers allow (draft RFC 6265bis)."""

_COOKIE_HEADER = "Doorbell-Device-Cookie"
_SECONDS = 0.5
_TRIES = 2
_MOST_BYTES = 64 * 1024
_LONGEST_USER_AGENT = 2048
_DISPENSABLE = frozenset({"email", "other_email", "locale", "time_zone", "auth_method"})
"""A login that is watched without one of these is better than one that nobody hears of."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What the application obeys: ask for a second factor, and let nobody in."""

    require_step_up: bool = False
    locked: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Doorbell:
    """One tenant's Doorbell. Threads may share it. No call raises: what went wrong is logged, but not of whom.

    seconds: for a call, from connecting to the last byte of the answer; a report is tried twice. Not counted is
    looking the name up, and each address of a name, and its TLS handshake, has as long by itself.
    """

    def __init__(self, url: str, api_key: str, seconds: float = _SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds
        # From a file a key comes with the end of its line.
        self._key = api_key.strip()

    def report(
        self,
        event_id: object,
        user_id: object,
        ip: str,
        user_agent: str | None,
        **facts: str | None,
    ) -> str | None:
        """Report a login that has succeeded just now; returns the cookie for its device to keep, if there is one.

        event_id: the application's own, by which the same login counts once.
        facts: `device_cookie`, `auth_method`, `email`, `other_email`, `locale`, `time_zone`, `kind`, `occurred_at`, as
        the API's documentation has them; None and empty ones are left out. So is an address, a language, a time
        zone or a method that Doorbell refuses: the log names it, and the login is reported without it.

        At most once an event_id. A login that could not be reported is lost to Doorbell unless
        the application reports it again later, with the same event_id and `occurred_at`.
        """
        try:
            body = {
                "event_id": str(event_id),
                "user_id": str(user_id),
                "ip": ip,
                # The visitor's to choose: nothing in it may keep the login from being reported.
                "user_agent": _printable(user_agent or "")[:_LONGEST_USER_AGENT],
                "occurred_at": datetime.now(UTC).isoformat(),
                **{name: value for name, value in facts.items() if value not in (None, "")},
            }
            answer = self._report(event_id, body)
            if answer is not None and (unfit := _refused_fields(answer) & body.keys()):
                answer = self._report(event_id, {n: v for n, v in body.items() if n not in unfit})
        except Exception as error:  # noqa: BLE001  whatever it is, the user is let in
            logger.error("login %s was not reported: %s", event_id, type(error).__name__)  # noqa: TRY400  a line, not a stack
            return None
        if answer is None or answer.status_code != 202:
            return None
        return answer.headers.get(_COOKIE_HEADER) or facts.get("device_cookie")

    def _report(self, event_id: object, body: dict[str, Any]) -> _Answer | None:
        """Doorbell's answer to a login, after a second try where the first brought none; None: it has none."""
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._ask("POST", "/v1/logins", body)
            except Exception as error:  # noqa: BLE001  whatever it is, the user is let in
                why = type(error).__name__
            else:
                if answer.status_code == 202:
                    return answer
                why = _problem(answer)
                if answer.status_code not in (429, 503):
                    logger.error("login %s was refused: %s", event_id, why)
                    return answer
            level = logging.WARNING if attempt < _TRIES else logging.ERROR
            logger.log(level, "login %s was not reported: %s", event_id, why)
        return None

    def switches(self, user_id: object) -> Switches:
        """Both of a user's switches; off when Doorbell does not say."""
        try:
            answer = self._ask("GET", f"/v1/users/{quote(str(user_id), safe='')}/switches")
            if answer.status_code != 200:
                logger.error("the switches are not known: %s", _problem(answer))
                return Switches()
            found = answer.json()["switches"]
            return Switches(bool(found["require_step_up"]["is_on"]), bool(found["locked"]["is_on"]))
        except Exception as error:  # noqa: BLE001  whatever it is, the user is let in
            logger.error("the switches are not known: %s", type(error).__name__)  # noqa: TRY400  a line, not a stack
            return Switches()

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """In the way that ends `requests`' own search: what ~/.netrc has for the host would replace a header."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Answer:
        with requests.Session() as session:
            in_time = _InTime(self._seconds)
            session.mount("http://", in_time)
            session.mount("https://", in_time)
            with session.request(
                method,
                f"{self._url}{path}",
                json=body,
                auth=self._authenticate,
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = bytearray()
                for part in answer.iter_content(_MOST_BYTES):
                    content += part
                    if len(content) > _MOST_BYTES:
                        raise OverflowError
                return _Answer(answer.status_code, answer.headers, bytes(content))


class _InTime(HTTPAdapter):
    """Ends a call after so many seconds. The time-outs of `requests` are for each read, and an answer may be many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _bound(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:
        return _bound(super().proxy_manager_for(*args, **kwargs))

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        # What connecting took is taken off what the answer has.
        return super().send(*args, **(kwargs | {"timeout": Timeout(total=self._seconds)}))


def _bound(manager: PoolManager) -> PoolManager:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded(pool) for scheme, pool in pools.items()}
    return manager


@cache
def _bounded(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """The same, but that answers are read to their end in the time that one read may take."""
    kind = pool.ConnectionCls
    connection = type(kind.__name__, (kind,), {"response_class": _WholeInTime})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _WholeInTime(HTTPResponse):
    """Status, headers and body."""

    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = BufferedReader(_Bytes(sock, self.fp))


class _Bytes(RawIOBase):
    """What comes over a socket within the time-out that the socket has now. `file` keeps it open, and is not read."""

    def __init__(self, sock: socket, file: BufferedReader) -> None:
        self._sock, self._file = sock, file
        self._until = monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not whole in time")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _problem(answer: _Answer) -> str:
    """A problem document's fields and what is wrong with them; no value of a login is in it."""
    named = [f"{field} {message}" for field, message in _errors(answer)]
    return f"{answer.status_code} {'; '.join(named)}".strip()


def _refused_fields(answer: _Answer) -> frozenset[str]:
    """The fields that a login was refused for, if it can do without all of them."""
    refused = frozenset(field for field, _ in _errors(answer))
    return refused if answer.status_code == 422 and refused <= _DISPENSABLE else frozenset()


def _errors(answer: _Answer) -> list[tuple[str, str]]:
    try:
        return [(each["field"], each["message"]) for each in answer.json()["errors"]]
    except Exception:  # noqa: BLE001  somebody else's answer, such as a proxy's
        return []

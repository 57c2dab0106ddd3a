"""HTTP calls by `requests` that end in time, stay where they were sent, and remember nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from services.adapters.deadline import deadline, watch
from services.domain.errors import Refused, Unavailable

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
TRY_AGAIN = frozenset({408, 425, 429})
"""The 4xx that say "later", not "wrong"."""

Resolve = Callable[[str, int], list[str]]


def all_addresses(host: str, port: int) -> list[str]:
    """For a target that the operator has chosen: it may well be in a private network.

    Raises:
        OSError: it does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class HttpClient:
    """Posts bodies over kept connections; safe for many threads.

    Follows no redirect, reads no proxy or password from the environment, and
    keeps no cookie. `resolve` turns a host and port into the addresses that may
    be connected to; the connection goes to precisely one of those.
    """

    def __init__(self, overall_seconds: float, resolve: Resolve, connections: int = 32) -> None:
        self._overall_seconds = overall_seconds
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Transport(resolve, connections))

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], longest_answer: int
    ) -> Answer:
        """Post, and read an answer of at most `longest_answer` bytes.

        Raises:
            Unavailable: no connection, no complete answer in time, or one that is too long.
            Refused: the URL is not one.
        """
        sent = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
        try:
            with (
                deadline(self._overall_seconds) as limit,
                self._session.post(
                    url,
                    data=body,
                    headers=sent,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                answer = Answer(response.status_code, _read(response, longest_answer))
                limit.check()
                return answer
        except requests.RequestException as error:
            # Only the kind of error: its text holds the URL, and URLs hold secrets.
            if isinstance(error, ValueError):
                raise Refused(f"not a URL that can be called: {type(error).__name__}") from error
            raise Unavailable(f"no answer: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()


def _read(response: requests.Response, longest: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(8192):
        body += chunk
        if len(body) > longest:
            raise Unavailable(f"the answer is longer than {longest} bytes")
    return bytes(body)


class _Transport(HTTPAdapter):
    def __init__(self, resolve: Resolve, connections: int) -> None:
        self._resolve = resolve
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        resolve = self._resolve

        class Plain(_Checked, HTTPConnection):
            resolve_host = staticmethod(resolve)

        class Secure(_Checked, HTTPSConnection):
            resolve_host = staticmethod(resolve)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class _Checked(HTTPConnection):
    """Connects to checked addresses alone, and puts its socket under the running deadline."""

    resolve_host: Resolve

    def _new_conn(self) -> socket.socket:
        try:
            addresses = self.resolve_host(self.host, self.port or self.default_port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise Refused(f"{self.host[:80]!r} is not a host name") from error
        failure: OSError | None = None
        for address in addresses:
            try:
                connection = socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                failure = error
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                watch(connection)
                return connection
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "connecting timed out") from failure
        raise NewConnectionError(self, "cannot connect") from failure

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            watch(self.sock)  # a kept connection, under another call's deadline before
        super().putrequest(*args, **kwargs)

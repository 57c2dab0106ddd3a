"""For applications: reports logins and reads switches over HTTP, and lets users in when Doorbell does not answer.

It needs `requests` and nothing else of Doorbell: copy the file, or install the package.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests

logger = logging.getLogger(__name__)

COOKIE_SECONDS = 10 * 365 * 86_400
"""For how long a device is to keep its cookie."""

_COOKIE_HEADER = "Doorbell-Device-Cookie"
_SECONDS = 0.5
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Switches:
    """What the application obeys: ask for a second factor, and let nobody in."""

    require_step_up: bool = False
    locked: bool = False


class Doorbell:
    """One tenant's Doorbell. Threads may share it. No call raises: what went wrong is logged.

    seconds: for connecting, and then for each silence of the answer; a report is tried twice.
    """

    def __init__(self, url: str, api_key: str, seconds: float = _SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def report(
        self, event_id: str, user_id: str, ip: str, user_agent: str, **facts: str | None
    ) -> str | None:
        """Report a login that has succeeded just now; returns the cookie for its device, if it needs one.

        event_id: the application's own, by which the same login counts once.
        facts: `device_cookie`, `auth_method`, `email`, `locale`, `time_zone`, `kind`, `occurred_at`, as
        the API's documentation has them; None is left out.

        At most once an event_id. A login that could not be reported is lost to Doorbell unless
        the application reports it again later, with the same event_id and `occurred_at`.
        """
        body = {
            "event_id": event_id,
            "user_id": user_id,
            "ip": ip,
            "user_agent": user_agent,
            "occurred_at": datetime.now(UTC).isoformat(),
            **{name: value for name, value in facts.items() if value is not None},
        }
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._ask("POST", "/v1/logins", body)
            except requests.RequestException as error:
                logger.log(_level(attempt), "login %s was not reported: %s", event_id, _kind(error))
                continue
            if answer.status_code == 202:
                return answer.headers.get(_COOKIE_HEADER)
            logger.error("login %s was refused: %s", event_id, _problem(answer))
            return None
        return None

    def switches(self, user_id: str) -> Switches:
        """Both of a user's switches; off when Doorbell does not say."""
        try:
            answer = self._ask("GET", f"/v1/users/{quote(user_id, safe='')}/switches")
            answer.raise_for_status()
            found = answer.json()["switches"]
            return Switches(found["require_step_up"]["is_on"], found["locked"]["is_on"])
        except (requests.RequestException, KeyError, TypeError) as error:
            logger.error("the switches are not known: %s", _kind(error))  # noqa: TRY400  a line, not a stack
            return Switches()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return requests.request(
            method,
            f"{self._url}{path}",
            json=body,
            headers=self._headers,
            timeout=self._seconds,
            allow_redirects=False,
        )


def _level(attempt: int) -> int:
    return logging.WARNING if attempt < _TRIES else logging.ERROR


def _kind(error: Exception) -> str:
    """What happened, without the address: it may carry a user's id."""
    answer = getattr(error, "response", None)
    return type(error).__name__ if answer is None else _problem(answer)


def _problem(answer: requests.Response) -> str:
    """A problem document's fields and what is wrong with them; no value of a login is in it."""
    try:
        value = answer.json()
    except ValueError:
        value = {}
    errors = value.get("errors") if isinstance(value, dict) else None
    named = [
        f"{each.get('field')} {each.get('message')}"
        for each in errors or []
        if isinstance(each, dict)
    ]
    return f"{answer.status_code} {'; '.join(named)}".strip()

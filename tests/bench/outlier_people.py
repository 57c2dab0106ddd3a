"""The people of the outlier API's load test: the samples' histories, as Doorbell tells that API of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice, repeat
from typing import Any
from uuid import uuid4

from services.adapters.networks import AddressData
from services.adapters.outlier_api import request_body
from services.handlers.records import SavedLogin
from tests.bench.load import endless
from tests.bench.outlier_questions import Login

_TENANT = "bench"
_STRANGERS = 1000
_STAY = 2
"""Of three users so many stay; the third is there to be forgotten, and nobody asks about it meanwhile."""


class People:
    """Users with their logins, as many as somebody takes; the same `seed` draws the same of them."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)
        self._reported = endless(f"outlier-{seed}")
        self._networks = AddressData()
        self._devices: set[tuple[str, str]] = set()
        self._number_by_user: dict[str, int] = {}
        self._staying: dict[str, Login] = {}
        self._leaving: dict[str, Login] = {}

    def take(self, number: int) -> list[Login]:
        """The next logins, oldest first; whoever takes them has the API learn them."""
        taken = self._next(number)
        for login in taken:
            user = login["user_id"]
            place = self._number_by_user.setdefault(user, len(self._number_by_user))
            kept = self._staying if place % (_STAY + 1) < _STAY else self._leaving
            kept[user] = login
        return taken

    def returning(self) -> Iterator[Login]:
        """Logins of now, by users that stay, each as the user's last one; while there are none, by strangers.

        Each iterator draws for itself, so that each thread may have one.
        """
        drawn = random.Random(self._drawn.random())
        known = [*self._staying.values()] or self._next(_STRANGERS)
        return (_of_now(drawn.choice(known)) for _ in repeat(None))

    def leaving(self) -> Iterator[Login]:
        """A login of each user that is to be forgotten, until there is none left."""
        while self._leaving:
            yield self._leaving.popitem()[1]

    def _next(self, number: int) -> list[Login]:
        return [self._told(login) for login in islice(self._reported, number)]

    def _told(self, login: Mapping[str, Any]) -> Login:
        device = (login["user_id"], login["user_agent"])
        saved = SavedLogin(
            workflow_id=uuid4(),
            tenant_id=_TENANT,
            user_id=login["user_id"],
            occurred_at=datetime.fromisoformat(login["occurred_at"]),
            ip=login["ip"],
            user_agent=login["user_agent"],
            auth_method=login["auth_method"],
            is_device_known=device in self._devices,
        )
        self._devices.add(device)
        return request_body(saved, self._networks.of(saved.ip))


def _of_now(login: Login) -> Login:
    now = {"request_id": str(uuid4()), "occurred_at": datetime.now(UTC).isoformat()}
    return {**login, **now, "device_known": True}

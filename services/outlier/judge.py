"""Judges logins: looks facts up, scores, learns and keeps the answer, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from services.outlier.contract import ScoreAnswer, ScoreRequest
from services.outlier.lesson import Lesson
from services.outlier.model import (
    ACTIONS,
    VERSION,
    Thresholds,
    level_of,
    reasons_of,
    risk_score,
)
from services.outlier.store import Store


class KeyReused(Exception):
    """An idempotency key came back with another request."""


class Watcher(Protocol):
    """Is told of each answer."""

    def count(self, outcome: str) -> None:
        """outcome: its level, or `repeated` for a stored one."""
        ...

    def note(self, score: float | None, unseen: Collection[str]) -> None:
        """Of each new one. unseen: the levels whose value nobody had shown before."""
        ...


class Judge:
    """Answers each request once: the same key and request get the stored answer again.

    Learned are all logins except those answered with `deny`, which would otherwise
    teach the model that the attacker is the user.
    """

    def __init__(
        self,
        store: Store,
        thresholds: Thresholds | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._store = store
        self._thresholds = thresholds or Thresholds()
        self._watcher = watcher

    def answer(self, request: ScoreRequest, key: str | None = None) -> ScoreAnswer:
        """Answer one request under `key`, by default its request_id.

        Raises:
            KeyReused: the key was used for another request.
        """
        with self._store.transaction():
            return self._answer(request, key or request.request_id)

    def answer_batch(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        """Answer several requests in order, each under its request_id; all or none.

        Raises:
            KeyReused: one of the request_ids was used for another request.
        """
        with self._store.transaction():
            return [self._answer(request, request.request_id) for request in requests]

    def learn(self, requests: Sequence[ScoreRequest]) -> int:
        """Learn several logins in order, all or none, as if each was asked about; how many were."""
        by_tenant: dict[str, list[ScoreRequest]] = {}
        for request in requests:
            by_tenant.setdefault(request.tenant_id, []).append(request)
        with self._store.transaction():
            return sum(self._teach(tenant_id, some) for tenant_id, some in by_tenant.items())

    def _teach(self, tenant_id: str, requests: Sequence[ScoreRequest]) -> int:
        lesson = Lesson(self._store, tenant_id, [request.request_id for request in requests])
        for request in requests:
            facts = facts_of(request)
            if not self._is_denied(request, facts, lesson):
                lesson.learn(request.request_id, request.user_id, facts, request.occurred_at)
        return lesson.write()

    def _is_denied(self, request: ScoreRequest, facts: Mapping[str, str], lesson: Lesson) -> bool:
        if request.device_known:
            return False  # whatever the score is: see `level_of`
        seen, totals = lesson.seen(request.user_id, facts), lesson.totals(request.user_id)
        score = risk_score(seen, totals)
        return ACTIONS[level_of(score, self._thresholds, device_known=False)] == "deny"

    def _answer(self, request: ScoreRequest, key: str) -> ScoreAnswer:
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        stored = self._store.find_answer(request.tenant_id, key)
        if stored is not None:
            if stored[0] != digest:
                raise KeyReused(
                    f"the idempotency key {key!r} was used for another request: "
                    "send the same body again, or a new key"
                )
            self._count("repeated")
            return ScoreAnswer.model_validate_json(stored[1])
        answer = self._judge(request)
        self._store.keep_answer(request.tenant_id, key, digest, answer.model_dump_json())
        self._count(answer.level)
        return answer

    def _count(self, outcome: str) -> None:
        if self._watcher is not None:
            self._watcher.count(outcome)

    def _judge(self, request: ScoreRequest) -> ScoreAnswer:
        facts = facts_of(request)
        totals = self._store.totals(request.tenant_id, request.user_id)
        seen = self._store.seen(request.tenant_id, request.user_id, facts)
        score = risk_score(seen, totals)
        level = level_of(score, self._thresholds, device_known=request.device_known)
        if self._watcher is not None:
            self._watcher.note(score, [name for name, value in seen.items() if value.by_all == 0])
        if ACTIONS[level] != "deny":
            self._store.learn(
                request.tenant_id,
                request.request_id,
                request.user_id,
                facts,
                request.occurred_at,
            )
        return ScoreAnswer(
            request_id=request.request_id,
            score=score,
            level=level,
            action=ACTIONS[level],
            reasons=reasons_of(seen, totals, device_known=request.device_known),
            model_version=VERSION,
        )


def facts_of(request: ScoreRequest) -> dict[str, str]:
    """The request's facts by the model's level names, without those that are not known."""
    agent = request.user_agent
    facts = {
        "ip_network": request.ip_network,
        "asn": None if request.asn is None else str(request.asn),
        "country": request.country,
        "user_agent": agent.digest,
        "browser": agent.browser,
        "os": agent.os,
        "device_type": agent.device,
    }
    return {level: value for level, value in facts.items() if value is not None}

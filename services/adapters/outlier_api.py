"""Asks the outlier API for verdicts, and believes only answers that keep its contract."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ua_parser import parse

from services.adapters.http_client import TRY_AGAIN, Answer, HttpClient, all_addresses
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.domain.model import Verdict
from services.domain.network import Network
from services.handlers.ports import Networks
from services.handlers.records import SavedLogin
from services.observability.redaction import redact

OVERALL_SECONDS = 8.0
"""A little above connecting (2 s) and the longest silence (5 s): a drip of bytes ends here."""

BATCH_LIMIT = 100
"""Logins in one request: the contract's limit."""

LEARN_LIMIT = 250
"""Logins in one request to learn them: the contract's limit."""

_AT_ONCE = 32
_OFFER_SECONDS = 600.0
_NOT_OFFERED = (404, 405, 501)
_COUNTRY = re.compile("[A-Z]{2}")
_LONGEST_ANSWER = 16 * 1024
_LONGEST_EXPORT = 16 * 1024 * 1024
_LONGEST_USER_AGENT = 512

_Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class _Answer(BaseModel):
    """The contract's answer; fields that a later version of it adds are left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    request_id: _Text
    score: float | None = Field(ge=0, allow_inf_nan=False)
    level: Literal["low", "medium", "high"]
    action: Literal["allow", "challenge", "deny"]
    reasons: list[_Text] = Field(max_length=32)
    model_version: _Text


class _Answers(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    answers: list[Any]


class _Learned(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    learned: int = Field(ge=0)


class _Forgotten(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    logins: int = Field(ge=0)


class _Exported(BaseModel):
    """Whatever an API has learned, it is an object; what stands in it is the API's."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class HttpOutlierApi:
    """Implements `services.handlers.ports.OutlierApi` over `POST /v1/score`, `/v1/score:batch`,
    `/v1/learn:batch`, `/v1/users:forget`, `/v1/users:export`.

    Whether the API takes several logins together is found out by asking, and asked again
    after ten minutes; one that does not is asked about each at the same time. One that does
    not learn without being asked for a score is asked for one, which is not looked at.
    """

    def __init__(self, base_url: str, networks: Networks, api_key: str | None = None) -> None:
        """Connect to nothing yet.

        networks: says of which country and provider a login's address is.

        Raises:
            ConfigurationError: `base_url` is not one.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError("OUTLIER_API_URL must start with http:// or https://")
        self._base_url = base_url.rstrip("/")
        self._authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._networks = networks
        self._client = HttpClient(OVERALL_SECONDS, all_addresses)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="doorbell-outlier")
        self._asked_singly_until = float("-inf")
        self._learns_by_scoring_until = float("-inf")

    def score(self, logins: Sequence[SavedLogin]) -> list[Verdict | Unavailable | Refused]:
        if len(logins) > 1 and monotonic() > self._asked_singly_until:
            return [
                answer
                for first in range(0, len(logins), BATCH_LIMIT)
                for answer in self._score_together(logins[first : first + BATCH_LIMIT])
            ]
        return self._score_singly(logins)

    def _score_together(
        self, logins: Sequence[SavedLogin]
    ) -> Sequence[Verdict | Unavailable | Refused]:
        bodies = [request_body(login, self._networks.of(login.ip)) for login in logins]
        body = json.dumps({"requests": bodies}).encode()
        longest = _LONGEST_ANSWER * len(logins)
        try:
            answer = self._post("/v1/score:batch", body, self._authorization, longest)
            if answer.status == 200:
                return _verdicts(logins, answer)
        except Unavailable as error:
            return [error] * len(logins)
        if answer.status in _NOT_OFFERED:
            self._asked_singly_until = monotonic() + _OFFER_SECONDS
        elif isinstance(problem := _no_answer(answer), Unavailable):
            return [problem] * len(logins)
        # Not offered; or one of them is wrong, and only asking singly tells which.
        return self._score_singly(logins)

    def _score_singly(self, logins: Sequence[SavedLogin]) -> list[Verdict | Unavailable | Refused]:
        if len(logins) == 1:
            return [self._answer(logins[0])]
        return list(self._threads.map(self._answer, logins))

    def _answer(self, login: SavedLogin) -> Verdict | Unavailable | Refused:
        try:
            return self._score(login)
        except (Unavailable, Refused) as error:
            return error

    def _score(self, login: SavedLogin) -> Verdict:
        body = json.dumps(request_body(login, self._networks.of(login.ip))).encode()
        key = str(login.workflow_id)
        answer = self._post("/v1/score", body, {"Idempotency-Key": key, **self._authorization})
        if answer.status == 409:
            # It was asked before an update changed what is known of addresses or said of user agents.
            key += "-" + hashlib.sha256(body).hexdigest()[:16]
            answer = self._post("/v1/score", body, {"Idempotency-Key": key, **self._authorization})
        if answer.status != 200:
            raise _no_answer(answer)
        try:
            return _verdict(login, _Answer.model_validate_json(answer.body))
        except ValidationError as error:
            raise _broken_contract(error) from error

    def learn(self, logins: Sequence[SavedLogin]) -> None:
        for first in range(0, len(logins), LEARN_LIMIT):
            self._learn(logins[first : first + LEARN_LIMIT])

    def _learn(self, logins: Sequence[SavedLogin]) -> None:
        if monotonic() > self._learns_by_scoring_until:
            bodies = [request_body(login, self._networks.of(login.ip)) for login in logins]
            body = json.dumps({"requests": bodies}).encode()
            answer = self._post("/v1/learn:batch", body, self._authorization)
            if answer.status == 200:
                return _check_learned(answer)
            if answer.status in _NOT_OFFERED:
                self._learns_by_scoring_until = monotonic() + _OFFER_SECONDS
            elif isinstance(problem := _no_answer(answer), Unavailable):
                raise problem
        # Not offered; or one of them is wrong, and only asking singly tells which.
        for scored in self.score(logins):
            if isinstance(scored, Unavailable):
                raise scored
        return None

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        body = json.dumps({"tenant_id": tenant_id, "user_id": user_id}).encode()
        answer = self._post("/v1/users:forget", body, self._authorization)
        if answer.status in _NOT_OFFERED:
            return None
        if answer.status != 200:
            raise _no_answer(answer)
        try:
            return _Forgotten.model_validate_json(answer.body).logins
        except ValidationError as error:
            raise Unavailable("the outlier API's answer to forgetting has no logins") from error

    def export(self, tenant_id: str, user_id: str) -> Mapping[str, Any] | None:
        body = json.dumps({"tenant_id": tenant_id, "user_id": user_id}).encode()
        answer = self._post("/v1/users:export", body, self._authorization, _LONGEST_EXPORT)
        if answer.status in _NOT_OFFERED:
            return None
        if answer.status != 200:
            raise _no_answer(answer)
        try:
            return _Exported.model_validate_json(answer.body).model_dump()
        except ValidationError as error:
            raise Unavailable("the outlier API's answer to exporting is no JSON object") from error

    def _post(
        self, path: str, body: bytes, headers: Mapping[str, str], longest: int = _LONGEST_ANSWER
    ) -> Answer:
        return self._client.post(self._base_url + path, body, headers, longest)

    def close(self) -> None:
        """Close the kept connections."""
        self._threads.shutdown()
        self._client.close()


def request_body(login: SavedLogin, where: Network) -> dict[str, Any]:
    """What the API is told: facts and ids, no address, no whole user agent."""
    body: dict[str, Any] = {
        "request_id": str(login.workflow_id),
        "tenant_id": login.tenant_id,
        "user_id": login.user_id,
        "occurred_at": login.occurred_at.isoformat(),
        "ip_network": network(login.ip),
        "user_agent": user_agent_facts(login.user_agent),
        "device_known": login.is_device_known,
    }
    if _COUNTRY.fullmatch(where.country):
        body["country"] = where.country
    if where.asn:
        body["asn"] = where.asn
    if login.auth_method:
        body["auth_method"] = login.auth_method
    return body


@lru_cache(maxsize=4096)
def network(ip: str) -> str:
    """The /24 or /48 that an address lies in."""
    address = ip_address(ip)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network(f"{address}/48", strict=False))
        address = address.ipv4_mapped
    # As ip_network has it, and several times faster.
    return f"{str(address).rpartition('.')[0]}.0/24"


@lru_cache(maxsize=4096)
def user_agent_facts(user_agent: str) -> dict[str, str]:
    """A user agent from fine to coarse; what is not recognised is left out."""
    found = parse(user_agent[:_LONGEST_USER_AGENT])
    facts = {
        "digest": hashlib.sha256(user_agent.encode(errors="surrogatepass")).hexdigest()[:16],
        "browser": _versioned(found.user_agent),
        "os": _versioned(found.os),
        "device": found.device.family if found.device else "",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _check_learned(answer: Answer) -> None:
    try:
        _Learned.model_validate_json(answer.body)
    except ValidationError as error:
        raise _broken_contract(error) from error


def _no_answer(answer: Answer) -> Refused | Unavailable:
    if 400 <= answer.status < 500 and answer.status not in TRY_AGAIN:
        return Refused(f"the outlier API answered {answer.status}")
    return Unavailable(f"the outlier API answered {answer.status}")


def _versioned(part: Any) -> str:
    return " ".join(filter(None, (part.family, part.major))) if part else ""


def _verdicts(
    logins: Sequence[SavedLogin], answer: Answer
) -> Sequence[Verdict | Unavailable | Refused]:
    try:
        found = _Answers.model_validate_json(answer.body).answers
    except ValidationError as error:
        return [_broken_contract(error)] * len(logins)
    if len(found) != len(logins):
        problem = f"{len(found)} answers to {len(logins)} requests"
        return [Unavailable(f"the outlier API's answer breaks its contract: {problem}")] * len(
            logins
        )
    return [_verdict_or_error(login, each) for login, each in zip(logins, found, strict=True)]


def _verdict_or_error(login: SavedLogin, answer: Any) -> Verdict | Unavailable:
    try:
        return _verdict(login, _Answer.model_validate(answer))
    except ValidationError as error:
        return _broken_contract(error)
    except Unavailable as error:
        return error


def _broken_contract(error: ValidationError) -> Unavailable:
    where = ", ".join(".".join(map(str, e["loc"])) or "body" for e in error.errors()[:3])
    return Unavailable(f"the outlier API's answer breaks its contract: {where}")


def _verdict(login: SavedLogin, found: _Answer) -> Verdict:
    if found.request_id != str(login.workflow_id):
        raise Unavailable("the outlier API answered another request: request_id differs")
    return Verdict(
        workflow_id=login.workflow_id,
        level=found.level,
        action=found.action,
        score=found.score,
        # They travel in messages, which Flower shows; an API may quote what it was told.
        reasons=tuple(redact(reason) for reason in found.reasons),
        model_version=found.model_version,
        request_id=found.request_id,
    )

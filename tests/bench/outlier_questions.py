"""What the outlier API is asked under load, over kept connections; only a 200 that keeps the contract is an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from time import perf_counter
from typing import Any

from pydantic import ValidationError

from deploy.local.ports import HOST
from services.outlier.contract import ForgetAnswer, ScoreAnswer, ScoreBatchAnswer

Login = Mapping[str, Any]
"""As the contract's ScoreRequest."""

_LONGEST_SECONDS = 20.0
_SHOWN = 500
_HEADERS = {"Content-Type": "application/json"}


class WrongAnswer(Exception):
    """Something else than a 200 that keeps the contract; the message says what."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        read: how many logins the history has more after an answer with this body. Raises
            WrongAnswer or pydantic's ValidationError for what breaks the contract.
    """

    path: str
    body: Mapping[str, Any]
    read: Callable[[bytes], int]


def score(login: Login) -> Question:
    """Ask about one login."""

    def read(body: bytes) -> int:
        return _learned([login], [ScoreAnswer.model_validate_json(body)])

    return Question("/v1/score", login, read)


def score_batch(logins: Sequence[Login]) -> Question:
    """Ask about several logins in one request."""

    def read(body: bytes) -> int:
        return _learned(logins, ScoreBatchAnswer.model_validate_json(body).answers)

    return Question("/v1/score:batch", {"requests": logins}, read)


def forget(login: Login) -> Question:
    """Have the user of a learned login forgotten."""

    def read(body: bytes) -> int:
        logins = ForgetAnswer.model_validate_json(body).logins
        if not logins:
            raise WrongAnswer(f"it had no logins of {login['user_id']}, which it had learned")
        return -logins

    whose = {name: login[name] for name in ("tenant_id", "user_id")}
    return Question("/v1/users:forget", whose, read)


def _learned(logins: Sequence[Login], answers: Sequence[ScoreAnswer]) -> int:
    if [answer.request_id for answer in answers] != [login["request_id"] for login in logins]:
        raise WrongAnswer("it answered other request_ids than it was asked about")
    return sum(answer.action != "deny" for answer in answers)


class Connection:
    """One kept connection, of one thread.

    Attributes:
        seconds: what each answer took, from before the request to the end of the answer.
        learned: how many logins the history has more by all of them.
    """

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection(HOST, port, timeout=_LONGEST_SECONDS)
        self.seconds: list[float] = []
        self.learned = 0

    def greet(self) -> None:
        """Connect, and wait until the API has taken the connection, which a busy one does one at a time.

        Raises:
            WrongAnswer: it is not well.
        """
        with _wrong("GET /healthz"):
            self._exchange("GET", "/healthz")

    def ask(self, question: Question) -> None:
        """Ask, and look at the answer.

        Raises:
            WrongAnswer: there is none in time, or not one that was to be expected.
        """
        body = json.dumps(question.body).encode()
        with _wrong(f"POST {question.path}"):
            began = perf_counter()
            answer = self._exchange("POST", question.path, body)
            self.seconds.append(perf_counter() - began)
            self.learned += question.read(answer)

    def close(self) -> None:
        self._http.close()

    def _exchange(self, method: str, path: str, sent: bytes | None = None) -> bytes:
        self._http.request(method, path, sent, _HEADERS)
        answer = self._http.getresponse()
        received = answer.read()
        if answer.status != 200:
            shown = received[:_SHOWN].decode(errors="replace")
            raise WrongAnswer(f"it answered {answer.status}: {shown}")
        if answer.will_close:
            raise WrongAnswer("it closed a connection that was to be kept")
        return received


@contextmanager
def _wrong(asked: str) -> Iterator[None]:
    try:
        yield
    except (WrongAnswer, ValidationError, HTTPException, OSError) as error:
        raise WrongAnswer(f"{asked}: {str(error) or type(error).__name__}") from error

"""What follows a step, without its canvas: Celery makes a kind of it twice, and then only ids and results differ."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import uuid4

from celery import Celery, signals
from celery.canvas import Signature, maybe_signature
from celery.result import result_from_tuple
from kombu.utils import json as kombu_json

from services.ledger import labels
from services.ledger.id_template import ID, Differs, Ids, IdTemplate
from services.ledger.message import Message, abridged
from services.ledger.unit import Unit, refuse_large

_WORD = "result-of-this-step"
_RESULT = f"\x02{_WORD}\x03"
"""Stands for the step's result while Celery is asked."""

_ETA = '"eta": "'
"""In a signature's text; in a value's, the quotes would be escaped."""

_KEPT = 500
"""Kinds of continuation that are remembered; a deployment's canvases are a few dozen."""

_COMMITTED = ("join_sizes", "join_headers", "join_growth", "groups")
"""What a unit may hold beside messages."""


class Continuations:
    """Sends what Celery would send, character for character, without asking it.

    A continuation is known again by its text without ids. The second time that one is seen,
    Celery makes it twice, with a mark in the place of the result, and what both have in common
    is kept, if they differ in ids alone. Threads may share it.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._known: OrderedDict[Any, _Template | None] = OrderedDict()

    def send(
        self, unit: Unit, signature: Signature, result: Any, options: Mapping[str, Any]
    ) -> bool:
        """Have `unit` hold what applying `signature` to a step's result makes; False when Celery has to.

        Raises:
            MessageTooLarge: above 64 KiB.
        """
        task: Any = self._app.current_worker_task
        if task is None or _is_listened_to() or task.request.stamps or task.request.stamped_headers:
            return False
        try:
            text = json.dumps([signature, options])
            forms = kombu_json.dumps(result), repr(result)
        except (TypeError, ValueError):
            return False
        if _ETA in text:
            # The delay until then is another one at every moment.
            return False
        slots: dict[str, int] = {}
        used = tuple(slots.setdefault(found, len(slots)) for found in ID.findall(text))
        # Where Celery would have answers sent is the thread's.
        key = (self._app.thread_oid, used, tuple(ID.split(text)))
        try:
            template = self._known[key]
        except KeyError:
            self._remember(key, None)
            return False
        if template is None:
            template = self._learn(text, slots, task.request)
            self._remember(key, template)
        if template.sent is None:
            return False
        ids = [*slots, *(str(uuid4()) for _ in range(template.fresh))]
        template.sent.fill(self._app, unit, task.request, ids, forms)
        return True

    def _remember(self, key: Any, template: _Template | None) -> None:
        self._known[key] = template
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _learn(self, text: str, slots: dict[str, int], request: Any) -> _Template:
        ids = Ids((known, known) for known in slots)
        try:
            if _WORD in text:
                raise Differs
            one, other = (_ask(self._app, text, request) for _ in range(2))
            sent = _Sent.of(one, other, ids)
            return _Template(sent, ids.fresh)
        except Differs:
            return _Template(None)


def _is_listened_to() -> bool:
    """Whether somebody has a say in each message as Celery makes it."""
    return bool(
        signals.before_task_publish.receivers
        or signals.after_task_publish.receivers
        or signals.task_sent.receivers
    )


def _ask(app: Celery, text: str, request: Any) -> tuple[Unit, str]:
    """What Celery makes of a continuation, and what it enters as the step's children; nothing of it lasts."""
    signature, options = json.loads(text)
    unit, before = Unit(), len(request.children)
    follower: Any = maybe_signature(signature, app=app)
    with unit.active():
        follower.apply_async((_RESULT,), **options)
    children = [child.as_tuple() for child in request.children[before:]]
    del request.children[before:]
    others = (unit.results, unit.parts, unit.unsendable, unit.effects)
    if any(others) or unit.is_settling or unit.is_waiting or unit.is_replaced:
        raise Differs
    return unit, json.dumps([children, *(getattr(unit, name) for name in _COMMITTED)])


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around each place of the result in a text."""

    texts: list[IdTemplate]

    @classmethod
    def of(cls, one: str, other: str, mark: str, ids: Ids) -> Self:
        ones, others = one.split(mark), other.split(mark)
        if len(ones) != len(others) or any(_WORD in each for each in ones):
            raise Differs
        return cls([IdTemplate.of(*pair, ids) for pair in zip(ones, others, strict=True)])

    def fill(self, ids: Sequence[str], result: str) -> str:
        return result.join(text.fill(ids) for text in self.texts)


@dataclass(frozen=True, slots=True)
class _MessageText:
    """A message without what depends on the result, and that: its body, and what monitors are shown of it."""

    fields: IdTemplate
    body: _Around
    shown: _Around

    @classmethod
    def of(cls, one: Message, other: Message, ids: Ids) -> Self:
        texts = [str(each.headers["argsrepr"]) for each in (one, other)]
        if _WORD in _without_result(one) or any(
            abridged(text + _WORD) != text + _WORD for text in texts
        ):
            raise Differs
        return cls(
            IdTemplate.of(_without_result(one), _without_result(other), ids),
            _Around.of(one.body, other.body, json.dumps(_RESULT), ids),
            _Around.of(texts[0], texts[1], repr(_RESULT), ids),
        )

    def fill(self, ids: Sequence[str], forms: tuple[str, str], label: str | None) -> Message:
        fields = json.loads(self.fields.fill(ids))
        headers = fields["headers"]
        headers["argsrepr"] = abridged(self.shown.fill(ids, forms[1]))
        labels.attach(headers, label)
        body = self.body.fill(ids, forms[0])
        refuse_large(fields["task"], len(body.encode()))
        return Message(**fields | {"body": body})


def _without_result(message: Message) -> str:
    headers = {name: value for name, value in message.headers.items() if name != "argsrepr"}
    return replace(message, headers=headers, body="").to_json()


@dataclass(frozen=True, slots=True)
class _Sent:
    """All that a continuation sends and enters."""

    messages: list[_MessageText]
    entered: IdTemplate

    @classmethod
    def of(cls, one: tuple[Unit, str], other: tuple[Unit, str], ids: Ids) -> Self:
        (unit, entered), (unit_again, entered_again) = one, other
        if len(unit.messages) != len(unit_again.messages):
            raise Differs
        pairs = zip(unit.messages, unit_again.messages, strict=True)
        messages = [_MessageText.of(*pair, ids) for pair in pairs]
        if _WORD in entered:
            raise Differs
        return cls(messages, IdTemplate.of(entered, entered_again, ids))

    def fill(
        self, app: Celery, unit: Unit, request: Any, ids: Sequence[str], forms: tuple[str, str]
    ) -> None:
        """Have `unit` and the step's request hold it; forms: the result as JSON and as Python's text."""
        messages = [each.fill(ids, forms, unit.label) for each in self.messages]
        children, *committed = json.loads(self.entered.fill(ids))
        unit.merge(Unit(messages=messages, **dict(zip(_COMMITTED, committed, strict=True))))
        request.children.extend(result_from_tuple(child, app) for child in children)


@dataclass(frozen=True, slots=True)
class _Template:
    """What is known of a kind of continuation: what it sends, with how many new ids; None if it is never the same."""

    sent: _Sent | None
    fresh: int = 0

"""What was sent is sent once, whatever the database does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import psycopg

from services.adapters.networks import AddressData
from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed
from services.handlers.channels import Senders, senders
from services.handlers.deliver_notice import deliver_notice
from services.handlers.ports import Transaction, WebhookSender
from services.handlers.records import Mail, Notice
from tests.unit.handlers.test_message import NOTICE


@dataclass
class Database:
    """One notice and its claim; `is_away` from the moment in which its mail is sent."""

    state: str = "recorded"
    is_away: bool = False
    receipt: str | None = None

    @contextmanager
    def directly(self) -> Iterator[Transaction]:
        if self.is_away:
            raise psycopg.OperationalError("no connection")
        yield cast(Transaction, self)

    def claim_notice(self, *_: Any) -> tuple[bool, Notice]:
        before = replace(NOTICE, state=cast(Any, self.state), receipt=self.receipt)
        is_claimed = self.state == "recorded"
        if is_claimed:
            self.state = "sending"
        return is_claimed, before

    def note_sent(self, _: object, receipt: str) -> None:
        self.state, self.receipt = "sent", receipt

    def note_not_sent(self, *_: Any) -> None:
        self.state = "recorded"


@dataclass
class Mailer:
    database: Database
    error: Unavailable | None = None
    goes_away: bool = False
    sent: int = 0

    def send(self, _: Mail) -> str:
        if self.error:
            raise self.error
        self.sent += 1
        self.database.is_away = self.goes_away
        return "250 ok"


def _senders(mailer: Mailer) -> Senders:
    return senders(mailer, cast(WebhookSender, None), AddressData())


def test_a_sent_notice_is_noted_with_its_receipt() -> None:
    """And not sent when it is asked for again."""
    database = Database()
    mailer = Mailer(database)
    outcomes = [deliver_notice(NOTICE.id, database.directly, _senders(mailer)) for _ in range(2)]

    assert [type(outcome) for outcome in outcomes] == [Done, Done]
    assert (database.state, database.receipt, mailer.sent) == ("sent", "250 ok", 1)


def test_a_database_that_goes_away_meanwhile_sends_nothing_twice() -> None:
    """The outcome carries the receipt: the runner has no reason to call again."""
    database = Database()
    mailer = Mailer(database, goes_away=True)
    outcome = deliver_notice(NOTICE.id, database.directly, _senders(mailer))

    assert isinstance(outcome, Done)
    assert outcome.result["receipt"] == "250 ok"
    assert mailer.sent == 1


def test_what_was_not_sent_may_be_tried_again() -> None:
    """Its claim is given back at once."""
    database = Database()
    mailer = Mailer(database, error=Unavailable("451"))
    outcome = deliver_notice(NOTICE.id, database.directly, _senders(mailer))

    assert isinstance(outcome, Failed)
    assert database.state == "recorded"


def test_a_channel_that_this_release_does_not_have_is_refused() -> None:
    """Another release has recorded it: the next channel is tried, and the claim is given back."""
    database = Database()
    outcome = deliver_notice(NOTICE.id, database.directly, {})

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    assert "goes over email, which nobody here sends over" in str(outcome.error)
    assert database.state == "recorded"

"""The words of a notice: a mail for people, a JSON body for applications."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from jinja2 import Environment, PackageLoader, select_autoescape

from services.domain.errors import Refused
from services.domain.network import Network
from services.domain.notice_link import LinkAct, make_token
from services.domain.text import one_line
from services.handlers.fingerprint import describe, traits_of
from services.handlers.records import Delivery, Mail, Notice
from services.handlers.wording import Wording, wording_for

LINK_PATH = "/notice"
"""Where the gateway answers links of notices. The token is in the query, which a proxy can be told not to log."""

LONGEST_NAME = 100
LONGEST_SUBJECT = 150
_templates = Environment(
    loader=PackageLoader("services.handlers", "notices"),
    autoescape=select_autoescape(("html",)),
    trim_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)


class SignIn(Protocol):
    """What users are told about a sign-in."""

    @property
    def user_id(self) -> str: ...
    @property
    def user_agent(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def ip(self) -> str: ...
    @property
    def auth_method(self) -> str | None: ...
    @property
    def time_zone(self) -> str | None: ...


def compose_mail(notice: Notice, network: Network, public_url: str | None = None) -> Mail:
    """The mail of a notice; its Message-ID is made of the notice's id.

    network: of the address that the login came from. public_url: where links lead; None: there are none.

    Raises:
        Refused: the login has no address.
    """
    if not notice.email:
        raise Refused(f"notice {notice.id} goes by mail, but its login has no address")
    wording = wording_for(notice.locale)
    stop = unsubscribe_url(notice, public_url) if public_url else None
    app = one_line(notice.tenant_name, LONGEST_NAME)
    is_of_sign_in = notice.reason != "lockdown"
    kind = _kind(notice)
    words = {
        name: str(text).format(app=app, logins=notice.logins)
        for name, text in wording.words[kind].items()
    }
    values = {
        "words": words,
        "facts": facts_of(notice, network, wording)[: None if is_of_sign_in else 1],
        "late": wording.words["late"]["sentence"] if notice.is_late else "",
        "language": wording.language,
        "links": _links(notice, public_url, wording) if public_url and is_of_sign_in else (),
        "stop": (wording.words["links"]["unsubscribe"], stop) if stop else None,
    }
    return Mail(
        message_id=f"<{notice.id}@doorbell>",
        recipient=notice.email,
        subject=one_line(words["subject"], LONGEST_SUBJECT),
        text=rendered("notice.txt", values),
        html=rendered("notice.html", values),
        language=wording.language,
        unsubscribe_url=stop,
    )


def compose_delivery(notice: Notice) -> Delivery:
    """The webhook call of a notice; its delivery id is the notice's, its body the same each time.

    Raises:
        Refused: the tenant has no webhook, or no secret to sign with.
    """
    if not notice.webhook_url or not notice.webhook_secret:
        raise Refused(
            f"tenant {notice.tenant_id} has no webhook_url or no webhook_secret: set both"
        )
    body: dict[str, object] = {
        "id": str(notice.id),
        "type": f"notice.{notice.reason}",
        "user_id": notice.user_id,
    }
    if notice.reason == "lockdown":
        body |= {"incident_id": str(notice.incident_id), "switch": _switch_of(notice)}
    else:
        body |= {
            "workflow_id": str(notice.workflow_id),
            "device": describe(notice.user_agent),
            "ip": notice.ip,
            "occurred_at": notice.occurred_at.isoformat(),
        }
    if notice.reason == "folded":
        body |= {"logins": notice.logins}
    if notice.reason == "verdict":
        body |= {"level": notice.level, "locked": _is_locked(notice), "late": notice.is_late}
    return Delivery(
        id=str(notice.id),
        url=notice.webhook_url,
        secret=notice.webhook_secret,
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def _links(notice: Notice, public_url: str, wording: Wording) -> list[tuple[str, str]]:
    """Words and address of each link."""
    acts: tuple[LinkAct, ...] = ("confirm", "disown")
    return [(str(wording.words["links"][act]), _url(notice, act, public_url)) for act in acts]


def rendered(template: str, values: Mapping[str, object]) -> str:
    """The text of a template of notices; what goes into HTML is escaped."""
    return _templates.get_template(template).render(values)


def unsubscribe_url(notice: Notice, public_url: str) -> str | None:
    """Where a notice's reader says to want none of its kind; None: it is told all the same."""
    if notice.reason in ("verdict", "lockdown") or not notice.may_unsubscribe:
        return None
    return _url(notice, "unsubscribe", public_url)


def _url(notice: Notice, act: LinkAct, public_url: str) -> str:
    token = make_token(notice.link_key, notice.id, act, notice.recorded_at)
    return f"{public_url}{LINK_PATH}?t={token}"


def facts_of(sign_in: SignIn, network: Network, wording: Wording) -> list[tuple[str, str]]:
    """What lets a user recognise a sign-in: names and values, each one line, as far as they are known."""
    found = {
        "account": sign_in.user_id,
        "device": wording.device(traits_of(sign_in.user_agent)),
        "time": wording.time(sign_in.occurred_at, sign_in.time_zone),
        "place": wording.place(network.country),
        "provider": network.provider,
        "address": sign_in.ip,
        "method": sign_in.auth_method,
    }
    names = wording.words["facts"]
    lines = {name: one_line(value or "", LONGEST_NAME) for name, value in found.items()}
    return [(str(names[name]), line) for name, line in lines.items() if line]


def _kind(notice: Notice) -> str:
    """Under which name its words stand."""
    if notice.reason == "lockdown":
        return f"lockdown_{_switch_of(notice)}"
    if _is_locked(notice):
        return "locked"
    return "folded_one" if notice.reason == "folded" and notice.logins == 1 else notice.reason


def _switch_of(notice: Notice) -> str:
    """The switch of the incident that a notice tells of."""
    return next(iter(notice.switches or ()), "locked")


def _is_locked(notice: Notice) -> bool:
    return notice.reason == "verdict" and "locked" in (notice.switches or ())

"""The pages behind a notice's links, in the user's language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined

from services.domain.network import Network
from services.domain.notice_link import LinkAct
from services.domain.text import one_line
from services.handlers.message import SignIn, facts_of
from services.handlers.wording import Wording, wording_for

_LONGEST_NAME = 100
_page = Environment(
    loader=PackageLoader("services.handlers", "notices"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
).get_template("page.html")


class About(SignIn, Protocol):
    """A sign-in whose user may be asked about it."""

    @property
    def tenant_name(self) -> str: ...
    @property
    def locale(self) -> str | None: ...
    @property
    def network(self) -> Network: ...


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML document and its language (BCP 47)."""

    html: str
    language: str


def ask(act: LinkAct, about: About) -> Page:
    """The page with the one button, and the sign-in's facts where it is about that."""
    wording = wording_for(about.locale)
    words = wording.words["pages"][act]
    facts = [] if act == "unsubscribe" else facts_of(about, about.network, wording)
    return _rendered(wording, about, words["question"], facts, words["button"])


def tell(what: str, about: About | None = None) -> Page:
    """The page that says what was done or why nothing was; what: a key below `pages` of the words."""
    wording = wording_for(about.locale if about else None)
    words = wording.words["pages"]
    for part in what.split("."):
        words = words[part]
    return _rendered(wording, about, str(words), [], None)


def _rendered(
    wording: Wording,
    about: About | None,
    sentence: str,
    facts: list[tuple[str, str]],
    button: str | None,
) -> Page:
    app = one_line(about.tenant_name, _LONGEST_NAME) if about else "Doorbell"
    html = _page.render(
        language=wording.language,
        title=str(wording.words["pages"]["title"]).format(app=app),
        sentence=sentence.format(app=app),
        facts=facts,
        button=button,
    )
    return Page(html, wording.language)

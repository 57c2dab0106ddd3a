"""The words of a notice in the user's language, with times and places as the user would say them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from services.domain.device import Traits

LANGUAGES = ("en", "de")
"""Those that have a file; the first one is everybody else's."""
_FALLBACK = "en_GB"
_NAME = re.compile(r"(?=.{1,32}\Z)[\w+()/-]+(?: [\w+()/-]+){0,4}", re.ASCII)
_TELEPHONE = re.compile(r"(?<![A-Za-z\d])\d(?:[ _+()/-]*\d){6,}(?![A-Za-z\d])")
"""What can be called; models have letters at their digits."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One language's words, and the customs of one place where it is spoken."""

    locale: Locale
    words: Mapping[str, Any]

    @property
    def language(self) -> str:
        """As HTML and mails say it (BCP 47)."""
        return str(self.locale).replace("_", "-")

    def time(self, at: datetime, zone: str | None) -> str:
        """A moment by the clock of a time zone (IANA), which it names; UTC without one."""
        there = at.astimezone(ZoneInfo(zone or "UTC"))
        day = format_date(there, "long", self.locale)
        return f"{day}, {format_time(there, 'short', locale=self.locale)} ({zone or 'UTC'})"

    def day(self, day: date) -> str:
        return format_date(day, "long", self.locale)

    def place(self, country: str) -> str | None:
        """A country by its code, named for what it is: a guess. None for a code that is none's."""
        name = self.locale.territories.get(country)
        return None if name is None else str(self.words["roughly"]).format(country=name)

    def device(self, traits: Traits) -> str:
        """Browser, system and model, as far as they are told."""
        browser, system, model = map(_name, (traits.browser, traits.system, traits.model))
        if browser and system:
            said = str(self.words["device"]).format(browser=browser, system=system)
        else:
            said = browser or system or str(self.words["unknown_device"])
        return f"{said} ({model})" if model else said


def _name(text: str) -> str:
    """The text if it may be a product's name: a visitor chose it, and mail programs make links of anything."""
    return text if _NAME.fullmatch(text) and not _TELEPHONE.search(text) else ""


@lru_cache(maxsize=1024)
def wording_for(locale: str | None) -> Wording:
    """The wording for a login's locale (BCP 47), or the nearest there is."""
    found = _locale(locale or _FALLBACK)
    if found is None or found.language not in LANGUAGES:
        found = Locale.parse(_FALLBACK)
    return Wording(found, _words(found.language))


def _locale(text: str) -> Locale | None:
    for name in (text, text.replace("_", "-").partition("-")[0]):
        try:
            return Locale.parse(name.replace("-", "_"))
        except (ValueError, UnknownLocaleError):
            continue
    return None


@cache
def _words(language: str) -> Mapping[str, Any]:
    text = (resources.files(__package__) / "notices" / f"{language}.yml").read_text("utf-8")
    words: Mapping[str, Any] = yaml.safe_load(text)
    return words

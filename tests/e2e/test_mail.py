"""A notice as its reader meets it: a real mail, read by a mail parser and shown by a real browser."""

from __future__ import annotations

import mailbox
import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.support.expected_conditions import text_to_be_present_in_element
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e.application import Application
from tests.e2e.test_smoke import FIREFOX, new_user
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

PIXEL = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/109.0.0.0 Mobile Safari/537.36"
)
PHONE, DESKTOP = 360, 1280
FACTS = {
    "Gerät": "Chrome Mobile unter Android (Pixel 7)",
    "Ort": "Deutschland (ungefähr, nach der Adresse)",
    "Adresse": "84.56.1.2",
    "Angemeldet mit": "password",
}


def mails_to(email: str, endpoints: dict[str, str]) -> list[EmailMessage]:
    """What the mail server took for somebody."""
    box = mailbox.Maildir(endpoints["mail_directory"], create=False)
    found = (message_from_bytes(box.get_bytes(key), policy=default) for key in box.keys())  # noqa: SIM118  a Maildir is no dict
    return [mail for mail in found if mail["To"] == email]


@pytest.fixture
def mail(application: Application, endpoints: dict[str, str]) -> EmailMessage:
    """The mail about a second device, to somebody who reads German."""
    user = new_user()
    facts = {
        "user_id": user,
        "email": f"{user}@example.org",
        "locale": "de-DE",
        "time_zone": "Europe/Berlin",
        "ip": FACTS["Adresse"],
        "auth_method": FACTS["Angemeldet mit"],
    }
    application.wait_for_end(application.report(user_agent=FIREFOX, **facts))
    application.wait_for_end(application.report(user_agent=PIXEL, **facts))

    def told() -> list[EmailMessage]:
        mails = mails_to(facts["email"], endpoints)
        return [mail for mail in mails if mail["Subject"].startswith("Neue Anmeldung")]

    wait_until(lambda: bool(told()), 30, "the mail about the new device")
    [found] = told()
    return found


def test_a_mail_says_the_same_as_text_and_in_a_browser(
    mail: EmailMessage, browser: webdriver.Chrome, pictures: Path
) -> None:
    """In the reader's language; nothing is fetched, nothing sticks out of a phone, and tables have heads."""
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert mail["Content-Language"] == "de-DE"
    said = text.get_content()
    assert all(f"{name}: {value}" in said for name, value in FACTS.items()), said
    assert "(Europe/Berlin)" in said
    for width in (DESKTOP, PHONE):
        browser.set_window_size(width, 900)
        browser.get(f"data:text/html;charset=utf-8,{quote(html.get_content())}")
        assert shown(browser) == [line.split(": ", 1) for line in said.splitlines() if ": " in line]
        assert browser.execute_script(_LAYOUT) == {
            "language": "de-DE",
            "title": mail["Subject"],
            "fetched": 0,
            "sticks_out": False,
            "smallest": 16,
            "heads": ["row"]
            * browser.execute_script("return document.querySelectorAll('th').length"),
        }
        assert browser.save_screenshot(str(pictures / f"mail-{width}.png"))


def test_the_links_of_a_mail_lead_to_a_page_that_asks(
    mail: EmailMessage, browser: webdriver.Chrome, pictures: Path, application: Application
) -> None:
    """Fit for a phone, in the reader's language; whoever presses secures the account, and only he."""
    text = mail.get_body(("plain",))
    assert text is not None
    _, disown = re.findall(r"http\S+/notice\?t=\S+", text.get_content())
    user = str(mail["To"]).partition("@")[0]
    for width in (DESKTOP, PHONE):
        browser.set_window_size(width, 900)
        browser.get(disown)
        facts = dict(shown(browser))
        assert facts.pop("Konto") == user
        assert "(Europe/Berlin)" in facts.pop("Zeit")
        assert facts == FACTS
        layout = browser.execute_script(_LAYOUT)
        assert (layout["language"], layout["fetched"], layout["sticks_out"]) == ("de-DE", 0, False)
        assert browser.save_screenshot(str(pictures / f"notice-{width}.png"))
    assert not application.is_locked(user)
    browser.find_element("tag name", "button").click()
    # The driver says that it has clicked before the answer is there.
    WebDriverWait(browser, 30).until(text_to_be_present_in_element(("tag name", "h1"), "gesperrt"))
    assert application.is_locked(user)


def shown(browser: webdriver.Chrome) -> list[list[str]]:
    """The facts as the browser shows them."""
    script = "return [...document.querySelectorAll('tr')].map(row => [...row.cells].map(it => it.innerText.trim()))"
    found: list[list[str]] = browser.execute_script(script)
    return found


_LAYOUT = """
const root = document.documentElement, all = [...document.body.querySelectorAll('*')];
return {
    language: root.lang,
    title: document.title,
    fetched: performance.getEntriesByType('resource').length,
    sticks_out: root.scrollWidth > root.clientWidth,
    smallest: Math.min(...all.map(it => parseFloat(getComputedStyle(it).fontSize))),
    heads: [...document.querySelectorAll('th')].map(it => it.scope),
};
"""

"""One game day: the fault, the news, the page's commands exactly as written, its Verify, and the all-clear."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from time import time

from tests.e2e.waiting import wait_until
from tests.gamedays import table
from tests.gamedays.faults import GAME_DAYS, GameDay
from tests.gamedays.grounds import LINKS, TRY_OUT, Grounds
from tests.gamedays.inbox import Inbox
from tests.gamedays.runbook import Page, read

MEND_SECONDS = 300.0
_CALM_SECONDS = 1200.0
"""The reconciler's repairs count for a quarter of an hour, and there are some behind a pool that stood still."""


def hold(
    alert: str,
    ground: Grounds,
    box: Inbox,
    days: Mapping[str, GameDay] = GAME_DAYS,
    beside: Collection[str] = (),
) -> table.Row:
    """Go through an alert's game day, whose logins somebody reports; returns what was seen.

    days: those that the ground can have. beside: alerts that have theirs at the same time, and disturb nobody.

    Raises:
        AssertionError: it was told too late or not at all, its page does not mend it within five minutes, or it stays.
    """
    try:
        wait_until(lambda: ground.is_calm(beside), _CALM_SECONDS, "all to be calm before")
        return _hold(alert, ground, box, days[alert])
    except BaseException:
        # What it leaves would have the next ones fail.
        with suppress(Exception):
            mend(ground, read(alert), days[alert].found_out)
        raise


def _hold(alert: str, ground: Grounds, box: Inbox, day: GameDay) -> table.Row:
    page = read(alert)
    began = time()
    with day.fault(ground) as since:
        began = since or began
        if day.is_there is not None:
            question = day.is_there
            wait_until(lambda: ground.rows(question) == [(True,)], _CALM_SECONDS, question)
            began = time()
        wait_until(
            lambda: box.find(alert, "firing", began) is not None,
            day.told_seconds,
            f"{alert} to be told",
        )
        opened = time()
        told = box.find(alert, "firing", began)
        assert told is not None
        assert told.annotations["runbook"] == f"{LINKS['RUNBOOKS_URL']}/{alert}.md"
        assert told.annotations["dashboard"].startswith(f"{LINKS['DASHBOARDS_URL']}/d/doorbell-")
        shown = ground.shown_since(told.labels)
        assert told.labels["severity"] == "ticket" or shown < began + day.shown_seconds
        known = {**told.labels, **day.found_out}
        if not day.is_mended_outside:
            mend(ground, page, known)
    if day.is_mended_outside:
        mend(ground, page, known)
    ground.wait_for(page.conditions(told.labels), MEND_SECONDS - (time() - opened))
    mended = time() - opened
    wait_until(
        lambda: box.find(alert, "resolved", opened) is not None,
        day.resolve_seconds,
        f"the all-clear of {alert}",
    )
    others = [name for name in box.pages(began) if name not in {alert, TRY_OUT}]
    return table.seen(alert, max(0.0, shown - began), opened - began, mended, others)


def mend(ground: Grounds, page: Page, labels: Mapping[str, str]) -> None:
    """Run the commands of the page's Mitigation, as for this alert; labels: also what its reader has found out."""
    scripts = page.commands("Mitigation", ground.place, labels)
    assert scripts, f"{page.name} has no command that mends"
    for script in scripts:
        print(ground.mend(script, labels))

"""Where the links of notices lead: a page that asks, and acts when its button is pressed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.domain.notice_link import NoticeLink, read_token
from services.domain.policy import stored_policy
from services.gateway.notice_answers import Noticed, act_on, find
from services.gateway.parts import parts_of
from services.gateway.problems import DATABASE_ERRORS, RETRY_AFTER_SECONDS, Problem
from services.handlers.message import LINK_PATH
from services.handlers.notice_page import Page, ask, tell

router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    # The address holds the token.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
Token = Annotated[str, Query(alias="t")]


@router.head(LINK_PATH)
@router.get(LINK_PATH)
async def show(request: Request, token: Token = "") -> HTMLResponse:
    """Ask. Nothing is changed: programs that look at mails follow every link."""
    return await _answer(request, token, is_pressed=False)


@router.post(LINK_PATH)
async def press(request: Request, token: Token = "") -> HTMLResponse:
    """Act, once; also for a mail program whose user has unsubscribed there (RFC 8058)."""
    return await _answer(request, token, is_pressed=True)


async def _answer(request: Request, token: str, *, is_pressed: bool) -> HTMLResponse:
    link = read_token(token)
    if link is None:
        return _response(404, tell("unknown"))

    def work(connection: psycopg.Connection[Any]) -> tuple[int, Page]:
        noticed = find(connection, link)
        return (
            (404, tell("unknown"))
            if noticed is None
            else _follow(connection, link, noticed, is_pressed=is_pressed)
        )

    try:
        status, page = await parts_of(request).read(work)
    except (Problem, *DATABASE_ERRORS):
        return _response(503, tell("away"), {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return _response(status, page)


def _follow(
    connection: psycopg.Connection[Any], link: NoticeLink, noticed: Noticed, *, is_pressed: bool
) -> tuple[int, Page]:
    if link.expires_at < datetime.now(UTC):
        return 410, tell("expired", noticed)
    if link.act == "unsubscribe" and not stored_policy(noticed.policy).may_unsubscribe:
        return 200, tell("unsubscribe.kept", noticed)
    switches = noticed.switches
    if not noticed.is_answered or link.act == "unsubscribe":
        if not is_pressed:
            return 200, ask(link.act, noticed)
        acted = act_on(connection, link, noticed)
        if acted is None:
            # Somebody was faster: a second click, or a proxy that has lost the answer to the first.
            noticed = find(connection, link) or noticed
        switches = noticed.switches if acted is None else acted
    if link.act == "confirm" and "locked" in noticed.switches:
        return 200, tell("confirm.locked", noticed)
    if link.act != "disown":
        return 200, tell(f"{link.act}.done", noticed)
    done = next((name for name in ("locked", "require_step_up") if name in switches), "nothing")
    return 200, tell(f"disown.{done}", noticed)


def _response(status: int, page: Page, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(
        page.html, status, {**_HEADERS, "Content-Language": page.language, **(headers or {})}
    )

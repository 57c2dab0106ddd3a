"""What the steps of the main workflow do on the sides that Doorbell is compared with: one item, one call each.

The same statements, mails and calls with the same libraries, written as whoever begins would
write them. Nothing of it is undone or made up for when something dies.
"""

from __future__ import annotations

import os
import smtplib
import threading
from email.message import EmailMessage
from typing import Any

import psycopg
import requests

from services.adapters.outlier_api import network, user_agent_facts
from services.domain.network import Network
from services.handlers.fingerprint import describe, fingerprint, traits_of

Json = dict[str, Any]

_local = threading.local()


def database() -> psycopg.Connection[Any]:
    """This thread's connection."""
    if not hasattr(_local, "connection"):
        _local.connection = psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True)
    connection: psycopg.Connection[Any] = _local.connection
    return connection


def check_device(login: Json) -> Json:
    """Is this the user's known device?"""
    key = (login["user_id"], fingerprint(traits_of(login["user_agent"]), Network()))
    known = (
        database()
        .execute(
            "UPDATE device SET last_seen_at = greatest(last_seen_at, %s)"
            " WHERE user_id = %s AND fingerprint = %s RETURNING id",
            (login["occurred_at"], *key),
        )
        .fetchone()
    )
    if known:
        return login | {"device_id": known[0], "is_new": False, "is_first": False}
    [others] = database().execute(
        "SELECT count(*) FROM device WHERE user_id = %s", (login["user_id"],)
    ).fetchone() or (0,)
    [device_id] = database().execute(
        "INSERT INTO device (user_id, fingerprint, first_seen_at, last_seen_at)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (user_id, fingerprint)"
        " DO UPDATE SET last_seen_at = excluded.last_seen_at RETURNING id",
        (*key, login["occurred_at"], login["occurred_at"]),
    ).fetchone() or (None,)
    return login | {"device_id": device_id, "is_new": True, "is_first": others == 0}


def notify_user(login: Json) -> bool:
    """Mail the user when the device is new, but not the first."""
    is_due = bool(login["is_new"] and not login["is_first"])
    if is_due:
        send_mail(login["user_id"], login.get("email"), "new_device", describe(login["user_agent"]))
    return is_due


def save_event(login: Json) -> Json:
    """Store the login."""
    database().execute(
        "INSERT INTO login (event_id, user_id, device_id, new_device, occurred_at, ip, user_agent)"
        " VALUES (%(event_id)s, %(user_id)s, %(device_id)s, %(is_new)s, %(occurred_at)s, %(ip)s,"
        " %(user_agent)s) ON CONFLICT DO NOTHING",
        login,
    )
    return login


def score_login(login: Json) -> Json:
    """Ask the outlier API."""
    answer = requests.post(
        f"{os.environ['RIVAL_OUTLIER_API']}/v1/score",
        headers={"Authorization": f"Bearer {os.environ['RIVAL_OUTLIER_API_KEY']}"},
        json={
            "request_id": login["event_id"],
            "tenant_id": os.environ["RIVAL_TENANT"],
            "user_id": login["user_id"],
            "occurred_at": login["occurred_at"],
            "ip_network": network(login["ip"]),
            "user_agent": user_agent_facts(login["user_agent"]),
            "device_known": not login["is_new"],
            "auth_method": login.get("auth_method") or "password",
        },
        timeout=5,
    )
    answer.raise_for_status()
    return login | {"verdict": answer.json()}


def apply_verdict(login: Json) -> str:
    """Store the verdict, flip switches by the same policy, tell the user of a high level."""
    verdict: Json = login["verdict"]
    level, action = str(verdict["level"]), str(verdict["action"])
    names = ["require_step_up"] if level in ("medium", "high") else []
    names += ["locked"] if action == "deny" else []
    for name in names:
        database().execute(
            "INSERT INTO switch (user_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (login["user_id"], name),
        )
    if level == "high" or action == "deny":
        send_mail(login["user_id"], login.get("email"), "verdict", describe(login["user_agent"]))
    database().execute(
        "INSERT INTO verdict (event_id, user_id, level, action, score) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (login["event_id"], login["user_id"], level, action, verdict["score"]),
    )
    return level


def send_mail(user_id: str, email: str | None, reason: str, device: str) -> None:
    """Send a notice, and note it."""
    if email:
        message = EmailMessage()
        message["From"] = "rival@localhost.localdomain"
        message["To"] = email
        message["Subject"] = "New sign-in"
        message.set_content(f"Your account was used on {device} ({reason}).")
        with smtplib.SMTP("127.0.0.1", int(os.environ["RIVAL_SMTP_PORT"])) as server:
            server.send_message(message)
        database().execute(
            "INSERT INTO notice (user_id, reason) VALUES (%s, %s)", (user_id, reason)
        )

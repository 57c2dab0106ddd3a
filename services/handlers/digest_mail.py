"""The words of a day's digest: one mail for people."""

from __future__ import annotations

from collections.abc import Callable

from services.domain.digest import DeviceOfDay
from services.domain.errors import Refused
from services.domain.network import Network
from services.domain.text import one_line
from services.handlers.fingerprint import traits_of
from services.handlers.message import LONGEST_NAME, LONGEST_SUBJECT, rendered, unsubscribe_url
from services.handlers.records import Mail, Notice
from services.handlers.wording import Wording, wording_for


def compose_digest(
    notice: Notice, network_of: Callable[[str], Network], public_url: str | None = None
) -> Mail:
    """The mail of a notice that tells of a day; its Message-ID is made of the notice's id.

    network_of: what is known of an address. public_url: where links lead; None: there are none.

    Raises:
        Refused: its login has no address, or what it tells of is gone.
    """
    if not notice.email or notice.digest is None:
        raise Refused(f"notice {notice.id} has no address to go to, or no digest to tell of")
    digest, wording = notice.digest, wording_for(notice.locale)
    words = wording.words["digest"]
    names = {
        "app": one_line(notice.tenant_name, LONGEST_NAME),
        "day": wording.day(digest.day),
    }
    subject = one_line(str(words["subject"]).format(**names), LONGEST_SUBJECT)
    stop = unsubscribe_url(notice, public_url) if public_url else None
    values = {
        "language": wording.language,
        "subject": subject,
        "opening": str(words["opening"]).format(**names),
        "account": (wording.words["facts"]["account"], one_line(notice.user_id, LONGEST_NAME)),
        "devices": [
            (_name(device, wording), _facts(device, network_of(device.ip), wording))
            for device in digest.devices
        ],
        "others": [
            (words["others"]["devices"], f"{digest.other_devices:d}"),
            (words["others"]["logins"], f"{digest.other_logins:d}"),
        ]
        if digest.other_devices
        else [],
        "others_title": words["others"]["title"],
        "advice": str(words["advice"]).format(**names),
        "stop": (words["unsubscribe"], stop) if stop else None,
    }
    return Mail(
        message_id=f"<{notice.id}@doorbell>",
        recipient=notice.email,
        subject=subject,
        text=rendered("digest.txt", values),
        html=rendered("digest.html", values),
        language=wording.language,
        unsubscribe_url=stop,
    )


def _name(device: DeviceOfDay, wording: Wording) -> str:
    return one_line(wording.device(traits_of(device.user_agent)), LONGEST_NAME)


def _facts(device: DeviceOfDay, network: Network, wording: Wording) -> list[tuple[str, str]]:
    """Names and values, each one line, as far as they are known."""
    names, facts = wording.words["digest"]["facts"], wording.words["facts"]
    found = (
        (names["new"], names["new_value"] if device.is_new else None),
        (names["logins"], f"{device.logins:d}"),
        (names["last"], wording.time(device.occurred_at, device.time_zone)),
        (facts["place"], wording.place(network.country)),
        (facts["provider"], network.provider),
        (facts["address"], device.ip),
    )
    lines = [(str(name), one_line(value or "", LONGEST_NAME)) for name, value in found]
    return [(name, line) for name, line in lines if line]

"""How often a change of device is told, and how often none: device histories of real user agents, replayed.

`python -m tests.bench.recognition` writes deploy/recognition.md.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import cycle, pairwise, permutations
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import psycopg

from deploy.local.samples.lines import line_of
from services.adapters.networks import AddressData
from services.adapters.postgres import PostgresTransaction
from services.domain.model import DeviceCheck, Login, LoginKind
from services.domain.outcome import Done, Outcome
from services.handlers.check_device import check_reported
from services.handlers.notify_user import notify_users
from services.handlers.save_event import save_events
from services.sessions import Session
from tests.support.postgres import PrivatePostgres

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "deploy" / "recognition.md"
_AGENTS = ROOT / "deploy" / "local" / "samples" / "user_agents.jsonl"
Facts = dict[str, str]
_PROVIDERS = _AGENTS.with_name("networks.csv")
_NETWORKS = AddressData()
_RUN = UUID("5b0f6d1e-6c3c-4d0e-9a53-0f5b7f8b3c11")
_AT = datetime(2026, 3, 1, tzinfo=UTC)
_LIST = 500
_SILENT: tuple[LoginKind, ...] = ("sign_up", "reauthentication", "second_factor", "service")
_PROGRAMS = ("curl/{}.5.0", "python-requests/2.{}.3", "FooApp/{}.0 (build 7)", "okhttp/{}.12.0")
_SAFARI = "Gecko) Version/# Mobile/# Safari/#"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_ANDROID_MODEL = re.compile(r"(?<=Android #; ).*?(?=\) AppleWebKit)")


_PAGE = """# Recognition, measured

Made by `python -m tests.bench.recognition`, and compared by a test. {agents} real user-agent strings
([where from](local/samples/README.md)) in lines, each of which differs in versions only. Each change is
a user of its own with two logins, which go through `check_device`, `notify_user` and `save_event` on a
real PostgreSQL. Right is what a person would call right: told of another browser, app, system or model,
of another country where no cookie says that it is the same device, and of nothing else.

| change | tried | notices | right | wrong |
|---|---|---|---|---|
{table}
"A newer version that tells less": Chrome no longer says an Android's model, nor Firefox the distribution
of a Linux; Windows 7 became 10, Edge changed its own name, Opera its edition. Without a cookie there is
no more to go by than what a browser says and where it is: of two machines with the same browser, system
and model in one country the second one is not told of. Countries are those of the registries, of the
addresses of [internet providers](local/samples/README.md).
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A user's login on one device, and one after it: whether the user is to be told of a new device."""

    before: Login
    after: Login
    is_told: bool
    between: Login | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What became of changes of one sort."""

    sort: str
    tried: int
    told: int
    wrong: int

    def line(self) -> str:
        return f"| {self.sort} | {self.tried} | {self.told} | {self.tried - self.wrong} | {self.wrong} |"


def replay(connection: psycopg.Connection[Any]) -> list[Row]:
    """Replay every sort of change through the product's own steps, in a database of its own."""
    connection.execute("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
    return [_replay(connection, sort, list(changes)) for sort, changes in _sorts().items()]


def render(rows: Sequence[Row], agents: int) -> str:
    """The page with the table."""
    table = "".join(f"{row.line()}\n" for row in rows)
    return _PAGE.format(table=table, agents=agents)


def user_agents() -> list[Facts]:
    """The real ones with what their source says of them, by rising version."""
    rows: list[Facts] = [json.loads(line) for line in _AGENTS.read_text().splitlines()]
    return sorted(rows, key=lambda row: (_numbers(row["browser_version"]), row["user_agent"]))


def _sorts() -> dict[str, Iterator[Change]]:
    lines = defaultdict(list)
    facts = {}
    for row in user_agents():
        line = line_of(row["user_agent"])
        lines[line].append(row["user_agent"])
        facts[line] = row
    pairs = list(permutations(lines, 2))
    less = [pair for pair in pairs if _is_update(*pair)]
    others = [pair for pair in pairs if not _is_update(*pair)]
    newest = {line: agents[-1] for line, agents in lines.items()}
    places = list(_addresses().values())
    versions = [pair for agents in lines.values() for pair in pairwise(agents)]
    return {
        "a newer version of the same browser": _changes(versions, is_told=False),
        "a newer version that tells less": _changes(
            ((newest[a], newest[b]) for a, b in less), is_told=False
        ),
        "another browser, app, system or model": _changes(
            ((newest[a], newest[b]) for a, b in others), is_told=True
        ),
        "a private window: the same, without the cookie": _cookies(
            ((newest[a], newest[a]) for a in lines), is_told=False, sends_it=False
        ),
        "the cookie comes back, from the desktop's page or to it": _cookies(
            _desktop_pages(newest), is_told=False
        ),
        "a cookie copied to another browser or system": _cookies(
            ((newest[a], newest[b]) for a, b in others if _is_apart(facts[a], facts[b])),
            is_told=True,
        ),
        "a newer version of a program": _changes(
            ((name.format(7), name.format(8)) for name in _PROGRAMS), is_told=False
        ),
        "a program in place of a browser, or of another": _changes(
            [
                *((newest[line], name.format(7)) for line in lines for name in _PROGRAMS),
                *((a.format(7), b.format(7)) for a, b in permutations(_PROGRAMS, 2)),
            ],
            is_told=True,
        ),
        "the same without a cookie, in another country": _moves(
            ((a[0], b[0]) for a, b in permutations(places, 2)), is_told=True
        ),
        "the same without a cookie, at another provider of the country": _moves(
            (pair for addresses in places for pair in permutations(addresses, 2)), is_told=False
        ),
        "the same with its cookie, in another country": _moves(
            ((a[0], b[0]) for a, b in permutations(places, 2)), is_told=False, sends_it=True
        ),
        "another device, first by a second factor, then by a sign-in": _late_sign_ins(
            (newest[a], newest[b]) for a, b in others[::10]
        ),
        "another device, but with no sign-in": _kinds(
            ((newest[a], newest[b]) for a, b in others[::10]), is_told=False
        ),
    }


def _replay(connection: psycopg.Connection[Any], sort: str, changes: Sequence[Change]) -> Row:
    told = wrong = 0
    for start in range(0, len(changes), _LIST):
        part = changes[start : start + _LIST]
        connection.execute("TRUNCATE workflow, device CASCADE")
        assert not any(_told(connection, [change.before for change in part])), "of a first device"
        between = [change.between for change in part if change.between]
        assert not any(_told(connection, between)), "of a second factor"
        for change, is_told in zip(part, _told(connection, [it.after for it in part]), strict=True):
            told += is_told
            wrong += is_told != change.is_told
    return Row(sort, len(changes), told, wrong)


def _told(connection: psycopg.Connection[Any], logins: Sequence[Login]) -> list[bool]:
    """For each login, whether its user is told of a new device."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'login')",
            [(login.workflow_id,) for login in logins],
        )
        cursor.executemany(
            "INSERT INTO reported_login (workflow_id, tenant_id, event_id, user_id, occurred_at, ip,"
            " user_agent, cookie_id, email, kind) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    *(it.workflow_id, it.tenant_id, it.event_id, it.user_id, it.occurred_at, it.ip),
                    *(it.user_agent, it.cookie_id, it.email, it.kind),
                )
                for it in logins
            ],
        )
    tx = PostgresTransaction(connection)
    checks = [
        DeviceCheck.from_message(_result(outcome))
        for outcome in check_reported([login.workflow_id for login in logins], tx, _NETWORKS)
    ]
    noted = [_result(outcome)["notices"] > 0 for outcome in notify_users(checks, tx)]
    save_events(checks, tx, _NETWORKS)
    return noted


def _result(outcome: Outcome) -> Mapping[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def _changes(pairs: Iterable[tuple[str, str]], *, is_told: bool) -> Iterator[Change]:
    for number, (before, after) in enumerate(pairs):
        yield Change(_login(before, 0, number), _login(after, 1, number), is_told)


def _cookies(
    pairs: Iterable[tuple[str, str]], *, is_told: bool, sends_it: bool = True
) -> Iterator[Change]:
    for change in _changes(pairs, is_told=is_told):
        cookie = change.before.workflow_id if sends_it else None
        yield replace(change, after=replace(change.after, cookie_id=cookie))


def _kinds(pairs: Iterable[tuple[str, str]], *, is_told: bool) -> Iterator[Change]:
    for kind, change in zip(cycle(_SILENT), _changes(pairs, is_told=is_told), strict=False):
        yield replace(change, after=replace(change.after, kind=kind))


def _moves(
    places: Iterable[tuple[str, str]], *, is_told: bool, sends_it: bool = False
) -> Iterator[Change]:
    """The same browser at one address and then at another."""
    agent = user_agents()[-1]["user_agent"]
    for number, (there, here) in enumerate(places):
        before = replace(_login(agent, 0, number), ip=there)
        after = replace(_login(agent, 1, number), ip=here)
        if sends_it:
            after = replace(after, cookie_id=before.workflow_id)
        yield Change(before, after, is_told)


def _addresses() -> dict[str, list[str]]:
    """Addresses of providers of each country."""
    with _PROVIDERS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "access"]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        found[row["country"]].setdefault(row["asn"], str(ip_network(row["network"])[1]))
    return {country: list(addresses.values()) for country, addresses in sorted(found.items())}


def _late_sign_ins(pairs: Iterable[tuple[str, str]]) -> Iterator[Change]:
    """The sign-in comes after the second factor that it asked for."""
    for change in _changes(pairs, is_told=True):
        yield replace(
            change, between=replace(change.after, workflow_id=uuid4(), kind="second_factor")
        )


def _desktop_pages(newest: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Phones and tablets whose browser then says that it is a desktop's."""
    for line, agent in newest.items():
        if "Android" in line and "Chrome/" in line and "Silk" not in line:
            start, _, rest = agent.partition("(")
            _, _, rest = rest.partition(")")
            page = f"{start}(X11; Linux x86_64){rest.replace(' Mobile', '')}"
            yield from permutations((agent, page))
        if line.startswith("Mozilla/# (iPhone") and line.endswith(_SAFARI):
            version = re.search(r"Version/[\d.]+", agent)
            assert version is not None
            yield from permutations((agent, f"{_MAC} {version[0]} Safari/605.1.15"))


def _is_update(before: str, after: str) -> bool:
    """Whether a newer version of the one line says what the other one does."""

    def said(line: str) -> str:
        line = re.sub(r"Windows NT [\d.]+", "Windows NT #", line)
        line = re.sub(r" \(Edition .*\)", "", line)
        return line.replace(" Edge/", " Edg/")

    before, after = said(before), said(after)
    reduced = _ANDROID_MODEL.sub("K", before).replace("Ubuntu; ", "")
    return after in {before, reduced}


def _is_apart(before: Facts, after: Facts) -> bool:
    """Whether browser or system is another, by the words of the strings' source; but for the desktop's page."""
    desktop_pages = {("Android", "Linux"), ("iOS", "Mac OS X"), ("Linux", "Ubuntu")}
    desktop_pages |= {pair[::-1] for pair in desktop_pages}
    browsers = [
        re.sub(r" (Mobile|iOS)\b|Mobile ", "", facts["browser"]) for facts in (before, after)
    ]
    systems = before["os"], after["os"]
    return browsers[0] != browsers[1] or (systems[0] != systems[1] and systems not in desktop_pages)


def _login(agent: str, place: int, number: int) -> Login:
    return Login(
        workflow_id=uuid5(_RUN, f"{number}-{place}"),
        tenant_id="shop",
        event_id=str(number),
        user_id=f"user-{number}",
        occurred_at=_AT + timedelta(days=place),
        ip="203.0.113.7",
        user_agent=agent,
        email="somebody@example.org",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def main() -> None:
    """Write the page."""
    with PrivatePostgres() as server, server.database() as url, Session.connect(url) as connection:
        TABLE.write_text(render(replay(connection), len(user_agents())))


if __name__ == "__main__":
    main()

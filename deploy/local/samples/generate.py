"""Synthesizes login histories: the same seed gives the same file, byte for byte."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from deploy.local.samples.lines import line_of

_HERE = Path(__file__).parent
_DAY_SECONDS = 86_400
_HISTORY_DAYS = 120
_YOUNGEST_SECONDS = 60

USERS = 260
ATTACK_LOGINS = 40

_LOCALES = {
    "US": "en-US", "DE": "de-DE", "FR": "fr-FR", "GB": "en-GB", "JP": "ja-JP", "IN": "en-IN",
    "BR": "pt-BR", "CA": "en-CA", "AU": "en-AU", "ES": "es-ES", "IT": "it-IT", "NL": "nl-NL",
    "PL": "pl-PL", "SE": "sv-SE", "CH": "de-CH", "KR": "ko-KR", "MX": "es-MX", "TR": "tr-TR",
    "NO": "nb-NO", "GR": "el-GR", "AE": "ar-AE", "PT": "pt-PT",
}  # fmt: skip
_COUNTRY_WEIGHTS = {"US": 22, "DE": 14, "GB": 10, "FR": 9, "IN": 8, "BR": 6, "JP": 6}
_DEVICE_COUNTS = (1, 2, 3)
_DEVICE_COUNT_WEIGHTS = (5, 4, 1)
_UPDATE_CHANCE = 0.12
_NEW_DEVICE_CHANCE = 0.008
_TRAVEL_CHANCE = 0.01

Network = IPv4Network | IPv6Network
Login = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Line:
    """User agents of one kind of device from old to new; `share` in percent of all browsers."""

    name: str
    share: float
    versions: Sequence[str]


@dataclass(slots=True)
class _Device:
    """One browser on one machine, at a version of its line."""

    line: _Line
    version: int
    fresh: bool = True

    @property
    def user_agent(self) -> str:
        return self.line.versions[self.version]

    def update(self) -> bool:
        """Take the next version; False when there is none."""
        if self.version + 1 >= len(self.line.versions):
            return False
        self.version += 1
        return True


@dataclass(slots=True)
class _User:
    name: str
    country: str
    homes: Sequence[str]
    auth_method: str
    devices: list[_Device] = field(default_factory=list)


class Generator:
    """Draws everything from one seeded source of randomness, in a fixed order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)  # sample data, and it must repeat
        self._lines = _device_lines()
        self._access, self._hosting = _networks()

    def logins(self) -> list[Login]:
        """All logins, oldest first, numbered in that order."""
        drawn: list[Login] = []
        users = [self._user(number) for number in range(1, USERS + 1)]
        for user in users:
            drawn.extend(self._history(user))
        drawn.extend(self._attack(user) for user in self._random.sample(users, ATTACK_LOGINS))
        drawn.sort(key=lambda login: (login["offset"], login["user_id"]))
        for number, login in enumerate(drawn, start=1):
            login["event_id"] = f"sample-{self._seed}-{number:05d}"
        return drawn

    def _user(self, number: int) -> _User:
        draw = self._random
        countries = sorted(self._access)
        weights = [_COUNTRY_WEIGHTS.get(country, 2) for country in countries]
        country = draw.choices(countries, weights)[0]
        homes = [self._address(draw.choice(self._access[country])) for _ in range(3)]
        method = draw.choices(("password", "passkey", "sso", "password+otp"), (60, 10, 15, 15))[0]
        user = _User(f"user-{number:04d}", country, homes, method)
        for _ in range(draw.choices(_DEVICE_COUNTS, _DEVICE_COUNT_WEIGHTS)[0]):
            user.devices.append(self._device(user))
        return user

    def _device(self, user: _User) -> _Device:
        """A device that differs in more than version from those the user has."""
        draw = self._random
        kind = draw.choices(("desktop", "mobile", "tablet"), (50, 45, 5))[0]
        owned = {device.line.name for device in user.devices}
        lines = [line for line in self._lines[kind] if line.name not in owned]
        line = draw.choices(lines, [each.share for each in lines])[0]
        return _Device(line, draw.randrange(len(line.versions)))

    def _address(self, network: Network) -> str:
        """A random address that is neither the first nor the last of its network."""
        return str(network[self._random.randrange(1, network.num_addresses - 1)])

    def _history(self, user: _User) -> Iterator[Login]:
        draw = self._random
        count = min(40, 3 + int(draw.expovariate(1 / 7)))
        span = _HISTORY_DAYS * _DAY_SECONDS
        offsets = sorted(-draw.randrange(_YOUNGEST_SECONDS, span) for _ in range(count))
        for offset in offsets:
            kind = "usual"
            if draw.random() < _NEW_DEVICE_CHANCE:
                user.devices.append(self._device(user))
                device = user.devices[-1]
            else:
                device = draw.choices(user.devices, range(len(user.devices), 0, -1))[0]
            if device.fresh:
                kind, device.fresh = "new_device", False
            elif draw.random() < _UPDATE_CHANCE and device.update():
                kind = "update"
            address = draw.choices(user.homes, (7, 2, 1))[0]
            if kind == "usual" and draw.random() < _TRAVEL_CHANCE:
                kind = "travel"
                elsewhere = draw.choice([c for c in sorted(self._access) if c != user.country])
                address = self._address(draw.choice(self._access[elsewhere]))
            yield _login(user, offset, address, device, kind)

    def _attack(self, user: _User) -> Login:
        """A stranger's device at a hosting company with the user's password, in the last month."""
        draw = self._random
        network = draw.choice([n for n in self._hosting if n.version == 4])
        offset = -draw.randrange(_YOUNGEST_SECONDS, 30 * _DAY_SECONDS)
        login = _login(
            user, offset, self._address(network), self._device(user), "synthesized_attack"
        )
        login["auth_method"] = "password"
        return login


def _login(user: _User, offset: int, address: str, device: _Device, kind: str) -> Login:
    return {
        "event_id": "",
        "offset": offset,
        "kind": kind,
        "user_id": user.name,
        "ip": address,
        "user_agent": device.user_agent,
        "email": f"{user.name}@example.com",
        "locale": _LOCALES[user.country],
        "auth_method": user.auth_method,
    }


def _device_lines() -> dict[str, list[_Line]]:
    """The lines by kind of device."""
    rows_by_line: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for text in (_HERE / "user_agents.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        rows_by_line[line_of(row["user_agent"])].append(row)
    kinds: dict[str, list[_Line]] = defaultdict(list)
    for name, rows in sorted(rows_by_line.items()):
        versions = [row["user_agent"] for row in _rising(rows)]
        kinds[rows[0]["type"]].append(_Line(name, sum(r["share"] for r in rows), versions))
    return kinds


def _rising(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows by rising browser version, without those whose system is older than before."""
    system: tuple[int, ...] = ()
    for row in sorted(rows, key=lambda r: (_numbers(r["browser_version"]), r["user_agent"])):
        if _numbers(row["os_version"]) >= system:
            system = _numbers(row["os_version"])
            yield row


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _networks() -> tuple[dict[str, list[Network]], list[Network]]:
    """The access networks by country, and the hosting networks."""
    access: dict[str, list[Network]] = defaultdict(list)
    hosting: list[Network] = []
    with (_HERE / "networks.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            kept = hosting if row["kind"] == "hosting" else access[row["country"]]
            kept.append(ip_network(row["network"]))
    return access, hosting


def write(seed: int, out: Path) -> int:
    """Write the logins of `seed` and say how many they are."""
    lines = [json.dumps(login, ensure_ascii=False) for login in Generator(seed).logins()]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)

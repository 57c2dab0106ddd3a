"""How well the reference model tells attacks from users: the sample logins, and synthesized attack logins among them.

`python -m tests.bench.ranking` writes deploy/ranking.md and deploy/ranking.png.
"""

from __future__ import annotations

import csv
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

from deploy.local.samples.lines import line_of
from deploy.local.samples.load import LOGINS, read
from services.adapters.networks import AddressData
from services.adapters.outlier_api import request_body
from services.domain.network import Network
from services.handlers.records import SavedLogin
from services.outlier.contract import ScoreRequest
from services.outlier.judge import facts_of
from services.outlier.model import Thresholds, risk_score
from services.outlier.store import Store

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "deploy" / "ranking.md"
PLOT = PAGE.with_suffix(".png")
SEED = 7
_AT = datetime(2026, 3, 1, tzinfo=UTC)
_RUN = UUID("8c3d4f5a-42f1-4a51-8a8c-0d1d0f6f9f10")
_OLD_ENOUGH = 5
"""Logins that a user must have for somebody to know them well enough to attack them."""

_TOLD: Mapping[str, Callable[[Network], Network]] = {
    "network and user agent": lambda _: Network(),
    "and the country": lambda where: replace(where, asn=0),
    "and the provider": lambda where: where,
}
"""What the API is told of a login. The country is known without ado, the provider from a database of the operator's."""

_HEADS = (
    *("the API is told", "attack logins", "attacks", "AUC", "users asked", "attacks asked"),
    *("users denied", "attacks denied", "asked, when 1% of users' logins are"),
)
_TEXT = """# The reference model's ranking, measured

Made by `python -m tests.bench.ranking`, and compared by a test. {good} logins of {users} users, each scored
by what was there before it, as `score_login` asks and the reference outlier API answers; and one attack of
each sort on every user with at least {old} logins. **The attacks are synthesized, and so are the
[histories](local/samples/README.md)**: it shows what the model does with them, not how it will do with yours.

| attack logins | what they have |
|---|---|
| anywhere | a network and a user agent of anybody's, of anywhere |
| in the country | the victim's country; a user agent of anybody's |
| to the life | the victim's country, and a user agent of the victim's browser and system, of any version |

![The share of attack logins that are asked again, against that of users' logins](ranking.png)

AUC is the probability that an attack has a higher score than a user's login. "Asked" have a score of
{medium:g} and more (`medium`), "denied" of {high:g} and more (`high`). The last column's threshold is another: the
one by which a hundredth of users' logins are asked again, so that models can be compared.

{heads}
|---|---|---|---|---|---|---|---|---|
{table}
The country makes the difference: users' addresses change, mostly within one, and without it each new
network looks like a stranger's. Who comes from the victim's country with the victim's browser is let
through mostly: no threshold of these features tells such a login from the user's own, a passkey does.
"""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of users' own logins, and of attack logins by their sort."""

    told: str
    users: Sequence[float]
    attacks: Mapping[str, Sequence[float]]

    def rows(self) -> Iterator[str]:
        thresholds = Thresholds()
        strict = self.users[-max(1, len(self.users) // 100)]
        for sort, scores in self.attacks.items():
            asked, denied = (
                [_share(those, threshold) for those in (self.users, scores)]
                for threshold in (thresholds.medium, thresholds.high)
            )
            shares = " | ".join(f"{share:.1%}" for share in (*asked, *denied))
            yield (
                f"| {self.told} | {sort} | {len(scores)} | {area(self.users, scores):.3f} | {shares}"
                f" | {_share(scores, strict):.1%} |\n"
            )


def measure() -> list[Ranking]:
    """All scores, for each of what the API may be told."""
    providers = _Providers()
    return [_measure(told, where, providers) for told, where in _TOLD.items()]


def render(rankings: Sequence[Ranking]) -> str:
    """The page with the table."""
    thresholds = Thresholds()
    return _TEXT.format(
        good=len(rankings[0].users),
        users=len({row["user_id"] for row in read()}),
        old=_OLD_ENOUGH,
        medium=thresholds.medium,
        high=thresholds.high,
        heads=f"| {' | '.join(_HEADS)} |",
        table="".join(row for ranking in rankings for row in ranking.rows()),
    )


def area(users: Sequence[float], attacks: Sequence[float]) -> float:
    """The area under the curve; both in rising order."""
    below = sum(bisect_left(users, score) + _equal(users, score) / 2 for score in attacks)
    return below / len(users) / len(attacks)


def draw(ranking: Ranking, path: Path) -> None:
    """The curves of one ranking, the share of users who are asked on a logarithmic axis."""
    # Only who draws waits for it to be imported.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for sort, scores in ranking.attacks.items():
        cuts = sorted({*scores, *ranking.users}, reverse=True)
        axes.plot(
            [100 * _share(ranking.users, cut) for cut in cuts],
            [100 * _share(scores, cut) for cut in cuts],
            label=f"{sort} (AUC {area(ranking.users, scores):.3f})",
        )
    axes.set(
        xscale="log",
        xlim=(0.05, 100),
        ylim=(0, 101),
        xlabel="users' logins that are asked again, %",
        ylabel="synthesized attack logins that are, %",
        title=f"Told: {_told(ranking.told)}",
    )
    axes.axvline(1, color="grey", linewidth=0.8, linestyle="dotted")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _told(last: str) -> str:
    names = [*_TOLD]
    return " ".join(names[: names.index(last) + 1])


def _measure(told: str, where: Callable[[Network], Network], providers: _Providers) -> Ranking:
    users: list[float] = []
    attacks: dict[str, list[float]] = {}
    with TemporaryDirectory() as directory:
        store = Store(Path(directory) / "history.sqlite")
        histories = defaultdict(list)
        # Nobody else is to see what it learns, and a commit for each login would take longer than that.
        with store.transaction():
            for login in _logins():
                request = _request(login, where(providers.of(login.ip)))
                score = _score(store, request)
                users += [] if score is None else [score]
                store.learn(
                    request.tenant_id,
                    request.request_id,
                    request.user_id,
                    facts_of(request),
                    request.occurred_at,
                )
                histories[login.user_id].append(login)
            for sort, login in _attacks(histories, providers):
                score = _score(store, _request(login, where(providers.of(login.ip))))
                attacks.setdefault(sort, []).extend([] if score is None else [score])
        store.close()
    return Ranking(told, sorted(users), {sort: sorted(scores) for sort, scores in attacks.items()})


def _score(store: Store, request: ScoreRequest) -> float | None:
    totals = store.totals(request.tenant_id, request.user_id)
    return risk_score(store.seen(request.tenant_id, request.user_id, facts_of(request)), totals)


def _logins() -> Iterator[SavedLogin]:
    for row in read(LOGINS):
        if row["kind"] != "synthesized_attack":
            yield SavedLogin(
                workflow_id=uuid5(_RUN, row["event_id"]),
                tenant_id="shop",
                user_id=row["user_id"],
                occurred_at=_AT + timedelta(seconds=row["offset"]),
                ip=row["ip"],
                user_agent=row["user_agent"],
                auth_method=row["auth_method"],
                is_device_known=False,
            )


def _attacks(
    histories: Mapping[str, Sequence[SavedLogin]], providers: _Providers
) -> Iterator[tuple[str, SavedLogin]]:
    """Somebody has the password, and more or less of the rest."""
    drawn = random.Random(SEED)  # it must repeat
    agents = sorted({login.user_agent for logins in histories.values() for login in logins})
    lines = defaultdict(list)
    for agent in agents:
        lines[line_of(agent)].append(agent)
    for user, logins in sorted(histories.items()):
        if len(logins) < _OLD_ENOUGH:
            continue
        last = logins[-1]
        near = providers.countries[providers.of(last.ip).country]
        far = providers.countries[drawn.choice(sorted(providers.countries))]
        for sort, networks, known in (
            ("anywhere", far, agents),
            ("in the country", near, agents),
            ("to the life", near, lines[line_of(last.user_agent)]),
        ):
            network = drawn.choice(networks)
            yield (
                sort,
                replace(
                    last,
                    workflow_id=uuid5(_RUN, f"{sort} {user}"),
                    ip=str(network[drawn.randrange(1, network.num_addresses - 1)]),
                    user_agent=drawn.choice(known),
                    auth_method="password",
                ),
            )


class _Providers:
    """Implements `services.handlers.ports.Networks` for the samples' networks."""

    def __init__(self) -> None:
        self._countries = AddressData()
        self._asns = []
        self._known: dict[str, Network] = {}
        self.countries: dict[str, list[IPv4Network | IPv6Network]] = defaultdict(list)
        with LOGINS.with_name("networks.csv").open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                network = ip_network(row["network"])
                self._asns.append((network, int(row["asn"])))
                country = self._countries.of(str(network[1])).country
                if row["kind"] == "access":
                    self.countries[country].append(network)

    def of(self, ip: str) -> Network:
        if ip not in self._known:
            address = ip_address(ip)
            asn = next((asn for network, asn in self._asns if address in network), 0)
            self._known[ip] = replace(self._countries.of(ip), asn=asn)
        return self._known[ip]


def _request(login: SavedLogin, where: Network) -> ScoreRequest:
    body: dict[str, Any] = request_body(login, where)
    return ScoreRequest.model_validate(body)


def _share(rising: Sequence[float], threshold: float) -> float:
    return 1 - bisect_left(rising, threshold) / len(rising)


def _equal(rising: Sequence[float], score: float) -> int:
    start = bisect_left(rising, score)
    return sum(1 for other in rising[start:] if other == score)


def main() -> None:
    """Measure, and write the page and the plot."""
    rankings = measure()
    PAGE.write_text(render(rankings))
    draw(rankings[1], PLOT)
    print(f"wrote {PAGE.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""What its operator has chosen for a local cluster, kept from one `up` to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from deploy.local.passwords import write
from deploy.local.process import ClusterError

NONE = "none"
"""Takes back an earlier choice; an empty text leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What was said at one `up`, or at all of them until now.

    processes: numbers of processes by pool; of pools that it does not name, one.
    alert_receivers: a file that says who is told of alerts, as in deploy/alertmanager/README.md; without it
        Alertmanager's page shows them.
    dashboards_url: where people see the dashboards. runbooks_url: where they read the runbooks.
    """

    processes: Mapping[str, int] = field(default_factory=dict)
    alert_receivers: str = ""
    dashboards_url: str = ""
    runbooks_url: str = ""

    @property
    def receivers(self) -> Path | None:
        """The file of `alert_receivers`."""
        return Path(self.alert_receivers) if self.alert_receivers else None

    @property
    def links(self) -> dict[str, str]:
        """What Prometheus' configuration takes from its environment."""
        return {"DASHBOARDS_URL": self.dashboards_url, "RUNBOOKS_URL": self.runbooks_url}

    def and_now(self, said: Choices) -> Choices:
        """These, with what `said` says otherwise."""
        return Choices(
            {**self.processes, **said.processes},
            _latest(self.alert_receivers, said.alert_receivers),
            _latest(self.dashboards_url, said.dashboards_url),
            _latest(self.runbooks_url, said.runbooks_url),
        )

    def words(self) -> list[str]:
        """As variables of `make up`, those that differ from a cluster for which nothing was chosen."""
        processes = " ".join(f"{pool}={n}" for pool, n in self.processes.items() if n != 1)
        variables = {
            "PROCESSES": f'"{processes}"' if processes else "",
            "ALERT_RECEIVERS": self.alert_receivers,
            **self.links,
        }
        return [f"{name}={value}" for name, value in variables.items() if value]


def read(path: Path) -> Choices:
    """What `keep` has written; nothing where there is no such file.

    Raises:
        ClusterError: the file says something else.
    """
    try:
        kept = json.loads(path.read_text())
        found = Choices(**{each.name: kept[each.name] for each in fields(Choices)})
        if not _is_sound(found):
            raise TypeError("values of other kinds")
        return found
    except FileNotFoundError:
        return Choices()
    except (ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            f"{path} is damaged ({error!r}): delete it, and say PROCESSES, ALERT_RECEIVERS, DASHBOARDS_URL"
            " and RUNBOOKS_URL again"
        ) from error


def keep(path: Path, choices: Choices) -> None:
    """Have `read` return these; only the owner can read the file."""
    write(path, json.dumps(asdict(choices), indent=2))


def _is_sound(choices: Choices) -> bool:
    processes = choices.processes
    texts = (choices.alert_receivers, choices.dashboards_url, choices.runbooks_url)
    return (
        isinstance(processes, dict)
        and all(type(number) is int and number > 0 for number in processes.values())
        and all(isinstance(text, str) for text in texts)
    )


def _latest(before: str, said: str) -> str:
    return "" if said == NONE else said or before

"""promtool's cases for the rules of each queue: when each fires, and when it must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from routing.alerts import DASHBOARDS, RUNBOOKS, Rule, as_yaml, rules
from routing.topology import PROBE_TASK, Topology, dead_queue_name

Case = dict[str, Any]
Series = Mapping[str, str]

_INTERVAL = "5s"
_LINKS = {
    "dashboards": "https://grafana.example.org",
    "runbooks": "https://git.example.org/doorbell/deploy/runbooks",
}
_EVALUATION_INTERVAL = "15s"
"""As much as the shortest `for` can tell apart; promtool's time goes with its number of evaluations."""


def alert_cases(topology: Topology) -> str:
    """Return the file for `promtool test rules`; every case is about all queues at once."""
    cases = _Cases(topology)
    tests = [
        *cases.without_consumer(),
        *cases.stands_still(),
        *cases.will_not_clear(),
        *cases.dead_letters(),
        *cases.work_given_up(),
    ]
    head = {"rule_files": ["../rules/queues.yml"], "evaluation_interval": _EVALUATION_INTERVAL}
    return as_yaml({**head, "tests": tests}, source="routing/alert_cases.py")


class _Cases:
    """Values as promtool has them, 5 s apart: `1x6` is 1 and the same six times more, `stale _x6` a gap."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._rules = [rule for rule in rules(topology) if "alert" in rule]

    def without_consumer(self) -> list[Case]:
        alert = "QueueWithoutConsumer"
        gone = self._consumers("1x6 0x40")
        return [
            self._case("their consumers went and did not come back", gone, "3m", alert, {}),
            self._case("the queues themselves are not there", {}, "3m", alert, {}),
            self._case("a restart", self._consumers("1x6 0x9 1x40"), "80s", alert),
            self._case("a drain", {**gone, **self._draining("1x46")}, "3m", alert),
        ]

    def stands_still(self) -> list[Case]:
        alert = "QueueStandsStill"
        waiting = {**self._messages("5x60"), **self._consumers("1x60")}
        idle = {**self._messages("0x60"), **self._consumers("1x60"), **self._steps("7x60")}
        return [
            self._case(
                "none of the messages is done",
                {**waiting, **self._steps("7x60")},
                "4m",
                alert,
                {"{{ $value }}": "5"},
            ),
            self._case(
                "only the canary's probes are done",
                {**waiting, **self._steps("7x60"), **self._probes("0+1x60")},
                "4m",
                alert,
                {"{{ $value }}": "5"},
            ),
            self._case("they are done slowly", {**waiting, **self._steps("0+1x60")}, "4m", alert),
            self._case("there is nothing to do", idle, "4m", alert),
        ]

    def will_not_clear(self) -> list[Case]:
        alert = "QueueWillNotClear"
        many, few = self._messages("36000x80"), self._messages("1000x80")
        # Ten a second for each queue of the pool.
        pace = {
            self._steps_of(pool): f"0+{50 * len(self._topology.queues_of(pool))}x80"
            for pool in self._pools()
        }
        stopped = {**many, **self._steps("7x80"), **self._draining("1x80")}
        return [
            self._case(
                "an hour's work waits",
                {**many, **pace},
                "6m",
                alert,
                {"{{ $value | humanizeDuration }}": "1h 0m 0s"},
            ),
            self._case("a minute's work waits", {**few, **pace}, "6m", alert),
            self._case(
                "an hour's work has no steps yet",
                {**self._messages("0x80"), **self._unplanned("36000x80"), **pace},
                "6m",
                alert,
                {"{{ $value | humanizeDuration }}": "1h 0m 0s"},
            ),
            self._case("a drain", stopped, "6m", alert),
        ]

    def dead_letters(self) -> list[Case]:
        alert = "DeadLettersArriving"
        return [
            self._case(
                "three came",
                self._dead("2x750 5x50"),
                "65m",
                alert,
                {"{{ $value }}": "3"},
            ),
            self._case(
                "the first that ever came",
                self._dead("0x6 1x50"),
                "2m",
                alert,
                {"{{ $value }}": "1"},
            ),
            self._case("old ones that nobody has replayed", self._dead("2x800"), "65m", alert),
            self._case(
                "old ones, and the broker was away an hour ago",
                self._dead("2x30 stale _x60 2x750"),
                "65m",
                alert,
            ),
            self._case("old ones, and Prometheus is new", self._dead("_x6 2x50"), "2m", alert),
        ]

    def work_given_up(self) -> list[Case]:
        alert = "WorkGivenUp"
        dead = self._dead("0x60 30x40")
        first, *others = dead
        total = str(30 * len(dead))
        few = {first: "0x60 5x40", **dict.fromkeys(others, "0x100")}
        return [
            self._case("many at once", dead, "6m", alert, {"{{ $value }}": total}),
            self._case("a few", few, "6m", alert),
            self._case("as many, long ago", self._dead("30x100"), "7m", alert),
            self._case(
                "as many, long ago, and the broker was away for a while",
                self._dead("30x30 stale _x30 30x80"),
                "8m",
                alert,
            ),
        ]

    def _case(
        self,
        name: str,
        series: Series,
        at: str,
        alert: str,
        fires: Mapping[str, str] | None = None,
    ) -> Case:
        """`fires`: what the templates of the summaries become; None when no alert may fire."""
        expected = [] if fires is None else [*self._expected(alert, fires)]
        return {
            "name": f"{alert}: {name}",
            "interval": _INTERVAL,
            "external_labels": _LINKS,
            "input_series": [{"series": k, "values": v} for k, v in series.items()],
            "alert_rule_test": [{"alertname": alert, "eval_time": at, "exp_alerts": expected}],
        }

    def _expected(self, alert: str, texts: Mapping[str, str]) -> Iterable[Rule]:
        for rule in self._rules:
            if rule["alert"] == alert:
                annotations = {
                    name: text.replace(DASHBOARDS, _LINKS["dashboards"]).replace(
                        RUNBOOKS, _LINKS["runbooks"]
                    )
                    for name, text in rule["annotations"].items()
                }
                for template, text in texts.items():
                    annotations["summary"] = annotations["summary"].replace(template, text)
                yield {"exp_labels": dict(rule["labels"]), "exp_annotations": annotations}

    def _consumers(self, values: str) -> Series:
        return self._of_queues("rabbitmq_detailed_queue_consumers", self._topology.queues, values)

    def _messages(self, values: str) -> Series:
        return self._of_queues("rabbitmq_detailed_queue_messages", self._topology.queues, values)

    def _unplanned(self, values: str) -> Series:
        return {
            f'doorbell_unplanned_logins{{queue="{queue}"}}': values
            for queue in self._topology.queues
        }

    def _dead(self, values: str) -> Series:
        names = map(dead_queue_name, self._topology.queues)
        return self._of_queues("rabbitmq_detailed_queue_messages", names, values)

    def _of_queues(self, metric: str, queues: Iterable[str], values: str) -> Series:
        vhost = self._topology.vhost
        return {f'{metric}{{vhost="{vhost}", queue="{queue}"}}': values for queue in queues}

    def _steps(self, values: str) -> Series:
        return {self._steps_of(pool): values for pool in self._pools()}

    def _probes(self, values: str) -> Series:
        return {
            f'doorbell_steps_total{{pool="{pool}", task="{PROBE_TASK}", outcome="done"}}': values
            for pool in self._pools()
        }

    def _draining(self, values: str) -> Series:
        return {f'doorbell_draining{{pool="{pool}"}}': values for pool in self._pools()}

    def _steps_of(self, pool: str) -> str:
        return f'doorbell_steps_total{{pool="{pool}", outcome="done"}}'

    def _pools(self) -> list[str]:
        return [pool for pool in self._topology.pools if self._topology.queues_of(pool)]

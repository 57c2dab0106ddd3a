"""What a tenant wants done about a verdict: a pure decision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Self

from services.domain.model import Level, SwitchName, Verdict

Act = Literal["require_step_up", "locked", "notify"]
"""What can be done about a verdict: a switch turned on, or the user told."""
Occasion = Literal["medium", "high", "deny", "disowned"]
"""When: the verdict's level, or that the outlier API's action is `deny`; or the user says that it was somebody else."""
Told = Literal["user", "application", "both", "nobody"]
"""Who hears of something: the user by mail, the application by webhook, where there is no address in its place."""
Reason = Literal["new_device", "verdict", "lockdown"]
"""What users are told of; lockdown: a switch was turned on for them with many others."""

EventName = Literal["login.verdict", "switch.changed", "notice.failed"]
"""What an application can be told of, by webhook."""

ACTS: tuple[Act, ...] = ("require_step_up", "locked", "notify")
OCCASIONS: tuple[Occasion, ...] = ("medium", "high", "deny", "disowned")
TOLD: tuple[Told, ...] = ("user", "application", "both", "nobody")
REASONS: tuple[Reason, ...] = ("new_device", "verdict", "lockdown")
EVENTS: tuple[EventName, ...] = ("login.verdict", "switch.changed", "notice.failed")
SWITCHES: tuple[SwitchName, ...] = ("require_step_up", "locked")


@dataclass(frozen=True, slots=True)
class Policy:
    """One tenant's; as it stands without arguments, that of tenants who have set none.

    levels: from which score on a login is of these levels, both or none; empty: as the outlier API says.
    actions: what is done, by occasion.
    never_lock: ids of users who are asked for a second factor at most.
    lock_from: so many earlier logins a user must have before a verdict locks; below, a second factor is asked for.
    cooldown_seconds: so long after somebody turned a switch off a verdict does not turn it on.
    expire_seconds: so long after it was turned on by a verdict a switch goes off by itself; without one, never.
    tell: who hears of what.
    events: what the application is told of, where it has a webhook.
    mails_per_hour: so many mails for each reason a user gets within an hour at an address; what is more is told in one.
    may_unsubscribe: users may do without mails about new devices.
    digest_hour: at this hour of their own clock users are told of all sign-ins of the day before; None: they are not.
    is_dry_run: verdicts are stored with what would have been done, notices are recorded, and nothing is done or sent.
    """

    levels: Mapping[Literal["medium", "high"], float] = field(default_factory=dict)
    actions: Mapping[Occasion, frozenset[Act]] = field(
        default_factory=lambda: {
            "medium": frozenset({"require_step_up"}),
            "high": frozenset({"require_step_up", "notify"}),
            "deny": frozenset({"locked", "notify"}),
            "disowned": frozenset({"locked"}),
        }
    )
    never_lock: frozenset[str] = frozenset()
    lock_from: int = 3
    cooldown_seconds: float = 0.0
    expire_seconds: Mapping[SwitchName, float] = field(default_factory=dict)
    tell: Mapping[Reason, Told] = field(
        default_factory=lambda: {"new_device": "user", "verdict": "user", "lockdown": "user"}
    )
    events: frozenset[EventName] = frozenset({"switch.changed", "notice.failed"})
    mails_per_hour: int = 10
    may_unsubscribe: bool = False
    digest_hour: int | None = None
    is_dry_run: bool = False

    def to_document(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "levels": dict(self.levels),
            "actions": {occasion: sorted(acts) for occasion, acts in self.actions.items()},
            "never_lock": sorted(self.never_lock),
            "lock_from": self.lock_from,
            "cooldown_seconds": self.cooldown_seconds,
            "expire_seconds": dict(self.expire_seconds),
            "tell": dict(self.tell),
            "events": sorted(self.events),
            "mails_per_hour": self.mails_per_hour,
            "unsubscribe": self.may_unsubscribe,
            "digest": {} if self.digest_hour is None else {"hour": self.digest_hour},
            "dry_run": self.is_dry_run,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """What `to_document` gave, of this or an earlier release."""
        return cls(
            levels=document["levels"],
            actions={name: frozenset(acts) for name, acts in document["actions"].items()},
            never_lock=frozenset(document["never_lock"]),
            lock_from=document.get("lock_from", cls().lock_from),
            cooldown_seconds=document["cooldown_seconds"],
            expire_seconds=document["expire_seconds"],
            tell={**cls().tell, **document["tell"]},
            events=frozenset(document.get("events", cls().events)),
            mails_per_hour=document.get("mails_per_hour", cls().mails_per_hour),
            may_unsubscribe=document.get("unsubscribe", cls().may_unsubscribe),
            digest_hour=document.get("digest", {}).get("hour"),
            is_dry_run=document["dry_run"],
        )


DEFAULT = Policy()


@lru_cache(maxsize=256)
def stored_policy(document: str | None) -> Policy:
    """The policy of a tenant by the JSON that is stored of it; None: it has set none."""
    return DEFAULT if document is None else Policy.from_document(json.loads(document))


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy makes of a verdict: its level, the switches to turn on, whether the user hears of it."""

    level: Level
    switches: tuple[SwitchName, ...]
    is_notice_due: bool


def decide(
    policy: Policy,
    verdict: Verdict,
    user_id: str,
    *,
    is_device_known: bool = False,
    earlier_logins: int = 0,
) -> Decision:
    """Apply a policy to the verdict on a user's login. Without a score nothing is done.

    earlier_logins: of the user; how many there are beyond the policy's `lock_from` changes nothing.
    """
    level = level_of(policy, verdict, is_device_known=is_device_known)
    if level == "unscored":
        return Decision(level, (), False)
    acts: set[Act] = set()
    for occasion in OCCASIONS:
        if occasion == level or (occasion == "deny" and verdict.action == "deny"):
            acts |= policy.actions.get(occasion, frozenset())
    may_lock = earlier_logins >= policy.lock_from
    switches = _switches(policy, acts, user_id, may_lock=may_lock)
    return Decision(level, switches, "notify" in acts)


def disowned(policy: Policy, user_id: str) -> tuple[SwitchName, ...]:
    """The switches to turn on for a user who says that a sign-in was somebody else's.

    Also in a dry run: the user has asked for it.
    """
    acts = policy.actions.get("disowned", DEFAULT.actions["disowned"])
    return _switches(policy, acts, user_id, may_lock=True)


def _switches(
    policy: Policy, acts: AbstractSet[Act], user_id: str, *, may_lock: bool
) -> tuple[SwitchName, ...]:
    """Those of the acts that are switches; who may not be locked is asked for a second factor instead."""
    wanted: AbstractSet[Act] = acts
    if "locked" in acts and (not may_lock or is_spared(policy, "locked", user_id)):
        wanted = acts - {"locked"} | {"require_step_up"}
    return tuple(name for name in SWITCHES if name in wanted)


def is_spared(policy: Policy, switch: SwitchName, user_id: str) -> bool:
    """Whether a switch is never turned on for this user, whoever wants it."""
    return switch == "locked" and user_id in policy.never_lock


def level_of(policy: Policy, verdict: Verdict, *, is_device_known: bool = False) -> Level:
    """The verdict's level by the policy's own scale, where it has one and there is a score.

    On a device that the user is known by it is `medium` at most: a user who has moved is no stranger.
    """
    if verdict.level == "unscored" or verdict.score is None or not policy.levels:
        return verdict.level
    reached: Level = "low"
    for name in ("medium", "high"):
        if name in policy.levels and verdict.score >= policy.levels[name]:
            reached = name
    if reached == "high" and is_device_known:
        return "medium"
    return reached

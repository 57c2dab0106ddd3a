"""What load refuses, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.load import DEFAULT_FILE, load
from routing.topology import TaskRoute
from services.domain.errors import ConfigurationError
from tests.unit.routing.small import GOOD, load_text

# What is replaced, by what, and the problems (line and sentence) that must be named.
REFUSALS: dict[str, tuple[str, str, list[str]]] = {
    "unknown key": (
        "{pool: bells,",
        "{pool: bells, color: red,",
        ["9: queue bells knows no key color: use pool, delivery_limit, max_length"],
    ),
    "unknown section": (
        "vhost: house",
        "vhost: house\nhosts: {}",
        [
            (
                "3: the topology knows no key hosts: use version, vhost, exchanges, delays, pools, "
                "queues, retries, tasks, users"
            )
        ],
    ),
    "missing key": (
        "concurrency: 10, ",
        "",
        ["6: pool bells lacks the key concurrency: add it"],
    ),
    "missing section": (
        "retries:\n  soon: {limit: 0, base_seconds: 0.5, cap_seconds: 60}\n",
        "",
        [
            "1: the topology lacks the key retries: add it",
            (
                "12: task bells.ring: retry names 'soon', which is not there (none): "
                "correct it or add it"
            ),
            "13: task celery.*: retry names 'soon', which is not there (none): correct it or add it",
        ],
    ),
    "wrong type, a text": (
        "concurrency: 10",
        "concurrency: ten",
        ["6: pool bells: concurrency is a text: it must be a whole number"],
    ),
    "wrong type, a boolean": (
        "limit: 0",
        "limit: yes",
        ["12: retry soon: limit is true or false: it must be a whole number"],
    ),
    "wrong type, a fraction": (
        "delivery_limit: 20, max_length: 1000}\n  doors",
        "delivery_limit: 2.5, max_length: 1000}\n  doors",
        ["9: queue bells: delivery_limit is a number: it must be a whole number"],
    ),
    "wrong type, not a list": (
        "sends: [doors]",
        "sends: doors",
        ["14: task bells.ring: sends is a text: it must be a list, or all"],
    ),
    "unknown secret": (
        "grace_seconds: 4, secrets: []}\n  doors",
        "grace_seconds: 4, secrets: [key]}\n  doors",
        [
            (
                "6: pool bells: secrets names 'key', which is not there (smtp_url, outlier_api_key): "
                "correct it or add it"
            )
        ],
    ),
    "wrong type, not a mapping": (
        "exchanges: {work: house, dead: house.dead}",
        "exchanges: house",
        ["3: exchanges is a text: it must be a mapping"],
    ),
    "wrong type, a number for a name": (
        "sends: [doors]",
        "sends: [7]",
        ['14: task bells.ring: sends is a whole number: it must be a text, such as "7"'],
    ),
    "wrong type, a name for a boolean": (
        "observes: false",
        "observes: never",
        ["17: user gateway: observes is a text: it must be true or false"],
    ),
    "duplicate key": (
        "  doors: {pool: doors",
        "  bells: {pool: doors, delivery_limit: 20, max_length: 1000}\n  doors: {pool: doors",
        ["10: bells stands twice in queues (first in line 9): keep one"],
    ),
    "duplicate in a list": (
        "sends: [doors]",
        "sends: [doors, doors]",
        ["14: task bells.ring: sends names doors twice: keep one"],
    ),
    "queue without pool": (
        "{pool: bells, delivery_limit: 20",
        "{pool: belles, delivery_limit: 20",
        [
            (
                "9: queue bells: pool names 'belles', which is not there (bells, doors): "
                "correct it or add it"
            )
        ],
    ),
    "pool without queue": (
        "{pool: doors, delivery_limit: 20",
        "{pool: bells, delivery_limit: 20",
        ["7: pool doors has no queue: give it one under queues, or take the pool out"],
    ),
    "soft limit not below hard limit": (
        "concurrency: 10, soft_limit_seconds: 2",
        "concurrency: 10, soft_limit_seconds: 3",
        [
            (
                "6: pool bells: soft_limit_seconds (3) is not below hard_limit_seconds (3): "
                "a task needs time to end by itself"
            )
        ],
    ),
    "grace period not above the longest limit": (
        "grace_seconds: 4, secrets: []}\n  doors",
        "grace_seconds: 3, secrets: []}\n  doors",
        [
            (
                "6: pool bells: grace_seconds (3) is not above its longest limit (3): "
                "a stopping worker would be killed at work, raise it"
            )
        ],
    ),
    "concurrency below one": (
        "concurrency: 1,",
        "concurrency: 0,",
        ["7: pool doors: concurrency is 0: it must be at least 1"],
    ),
    "unknown style": (
        "style: io",
        "style: threads",
        ["7: pool doors: style is 'threads': use batch or io"],
    ),
    "unknown queue of a task": (
        "{queue: bells, retry",
        "{queue: bell, retry",
        [
            (
                "14: task bells.ring: queue names 'bell', which is not there (bells, doors): "
                "correct it or add it"
            )
        ],
    ),
    "unknown queue in sends": (
        "sends: [doors]",
        "sends: [doors, windows]",
        [
            (
                "14: task bells.ring: sends names 'windows', which is not there (bells, doors): "
                "correct it or add it"
            )
        ],
    ),
    "unknown queue of a user": (
        "{sends: [bells]",
        "{sends: [windows]",
        [
            (
                "17: user gateway: sends names 'windows', which is not there (bells, doors): "
                "correct it or add it"
            )
        ],
    ),
    "unknown retry": (
        "{queue: bells, retry: soon",
        "{queue: bells, retry: later",
        [
            "14: task bells.ring: retry names 'later', which is not there (soon): correct it or add it"
        ],
    ),
    "cap below base": (
        "cap_seconds: 60",
        "cap_seconds: 0.1",
        ["12: retry soon: cap_seconds (0.1) is below base_seconds (0.5): raise it"],
    ),
    "endless wait": (
        "cap_seconds: 60",
        "cap_seconds: .inf",
        ["12: retry soon: cap_seconds is inf: it must be above 0 and at most 268435455"],
    ),
    "a delay that Celery cannot express": (
        "cap_seconds: 60",
        "cap_seconds: 268435456",
        ["12: retry soon: cap_seconds is 268435456.0: it must be above 0 and at most 268435455"],
    ),
    "more retries than the backoff can count": (
        "limit: 0",
        "limit: 1001",
        ["12: retry soon: limit is 1001: it must be at most 1000"],
    ),
    "a length that RabbitMQ does not take": (
        "max_length: 1000}\n  doors",
        "max_length: 2147483648}\n  doors",
        ["9: queue bells: max_length is 2147483648: it must be at most 2147483647"],
    ),
    "negative retries": (
        "limit: 0",
        "limit: -1",
        ["12: retry soon: limit is -1: it must be at least 0"],
    ),
    "name with capitals": (
        "  gateway: {",
        "  Gateway: {",
        ["17: a name under users is 'Gateway': it must fit [a-z_]+"],
    ),
    "task name without a pool": (
        "  bells.ring: {",
        "  ring: {",
        [
            r"14: a name under tasks is 'ring': it must fit [a-z_]+\.[a-z_]+|celery\.\*",
        ],
    ),
    "no route for Celery's own tasks": (
        "  celery.*: {queue: doors, retry: soon, sends: []}\n",
        "",
        ["14: tasks lacks celery.*: say which queue takes Celery's own tasks"],
    ),
    "a user named after a pool": (
        "  gateway: {",
        "  doors: {",
        ["17: user doors has the name of a pool: each pool has a user already, rename this one"],
    ),
    "guest": (
        "  gateway: {",
        "  guest: {",
        ["17: user guest is RabbitMQ's default account: choose another name"],
    ),
    "one exchange for both": (
        "dead: house.dead",
        "dead: house",
        ["3: exchanges.dead is exchanges.work (house): give it another name"],
    ),
    "a reserved exchange": (
        "dead: house.dead",
        "dead: amq.dead",
        [r"3: exchanges.dead is 'amq.dead': it must fit (?!amq\.)[a-z_.]+"],
    ),
    "other delays than Celery's": (
        "levels: 28, prefix: celery_delayed",
        "levels: 8, prefix: slow",
        [
            "4: delays.levels is 8: Celery's delays have 28",
            "4: delays.prefix is 'slow': use celery_delayed",
        ],
    ),
    "another version": (
        "version: 1",
        "version: 2",
        ["1: version is not 1: this Doorbell reads version 1 only"],
    ),
    "several at once, in the order of their lines": (
        "style: io, concurrency: 1, soft_limit_seconds: 2",
        "style: io, concurrency: no, soft_limit_seconds: -2, more: 1",
        [
            (
                "7: pool doors knows no key more: use style, concurrency, soft_limit_seconds, "
                "hard_limit_seconds, grace_seconds, secrets"
            ),
            "7: pool doors: concurrency is true or false: it must be a whole number",
            "7: pool doors: soft_limit_seconds is -2: it must be at least 1",
        ],
    ),
}


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    """Every fact of the file stands in the topology."""
    topology = load_text(tmp_path, GOOD)
    assert (topology.vhost, topology.work_exchange, topology.dead_exchange) == (
        "house",
        "house",
        "house.dead",
    )
    assert list(topology.pools) == ["bells", "doors"]
    assert topology.pools["bells"].concurrency == 10
    assert topology.queues["doors"].pool == "doors"
    assert topology.retries["soon"].base_seconds == 0.5
    assert topology.tasks["bells.ring"] == TaskRoute("bells.ring", "bells", "soon", ("doors",), 0)
    assert topology.tasks["bells.ring"].line == 14
    assert topology.users["gateway"].sends == ("bells",)


def test_all_is_every_queue_there_is(tmp_path: Path) -> None:
    """Whoever sends to all of them sends to one that is added, too."""
    topology = load_text(tmp_path, GOOD.replace("sends: [doors]", "sends: all"))

    assert topology.route("bells.ring").sends == ("bells", "doors")


def test_the_packages_own_file_is_good() -> None:
    """The file that Doorbell ships is accepted."""
    assert load() == load(DEFAULT_FILE)


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_file_line_and_remedy(tmp_path: Path, case: str) -> None:
    """Each mistake gives one sentence with its place, and no other complaint."""
    before, after, expected = REFUSALS[case]
    assert GOOD.count(before) == 1
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, GOOD.replace(before, after))
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/topology.yml:{line}" for line in expected
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "topology.yml:1: is empty"),
        (b"a: [1", "topology.yml:1: is not valid YAML"),
        (b"a: b\n\tc: d", "topology.yml:2: is not valid YAML"),
        (b"a: *b", "topology.yml:1: is not valid YAML"),
        (b"a: \xff", "topology.yml: is not UTF-8"),
        (b"a: \x00", "topology.yml:1: is not valid YAML"),
        (b"- 1", "topology.yml:1: the topology is a list: it must be a mapping"),
        (b"7", "topology.yml:1: the topology is a whole number: it must be a mapping"),
        (b'"a\\nb": c', "topology.yml:1: the topology knows no key a\\nb: use"),
        (b"[a]: b", "topology.yml:1: a key of the topology is not a name"),
    ],
)
def test_what_is_no_topology_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Broken files give a sentence too, never a stack trace of the YAML library."""
    path = tmp_path / "topology.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named with the reason."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml: cannot be read: No such file"):
        load(tmp_path / "nowhere.yml")


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(data=st.data())
def test_no_damage_ends_otherwise_than_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever value stands anywhere in the file, load accepts it or refuses with line and sentence."""
    document = yaml.safe_load(GOOD)
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(_VALUES)
    path = tmp_path_factory.getbasetemp() / "damaged.yml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        load(path)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            assert line.startswith(f"{path}:")

"""A worker reads JSON and nothing else: what could run code when it is read is dead-lettered unread."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from celery import Celery
from kombu import Connection

from routing.load import load
from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.support.fleet import Fleet, wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

POOL = "db_writes"
TASK = "try.batch"
EMBED: dict[str, None] = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


@pytest.fixture(scope="module")
def bench(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """A worker of a batch pool with the product's app, consumer and pool."""
    directory = tmp_path_factory.mktemp("json_only")
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        made = Bench(node, fleet, url, directory, POOL)
        made.rows("CREATE TABLE effect (item text)")
        made.start()
        yield made
        made.close()


def _bodies(marker: Path) -> dict[str, tuple[bytes, str | None, str | None]]:
    """Name: body, content type, content encoding. Each would make the marker if it were read in full."""
    pickled = pickle.dumps([[Touch(marker)], {}, EMBED])
    command = f"!!python/object/apply:os.system ['touch {marker}']"
    return {
        "pickle": (pickled, "application/x-python-serialize", "binary"),
        "pickle by its name": (pickled, "pickle", "binary"),
        "pickle that says JSON": (pickled, "application/json", "utf-8"),
        "pickle that says nothing": (pickled, None, None),
        "pickle as plain data": (pickled, "application/data", "binary"),
        "pickle in base64": (base64.b64encode(pickled), "application/x-python-serialize", "base64"),
        "yaml": (f"[[{command}], {{}}, {{}}]".encode(), "application/x-yaml", "utf-8"),
        "yaml that says JSON": (
            yaml.safe_dump([["ok x"], {}]).encode(),
            "application/json",
            "utf-8",
        ),
        "msgpack": (b"\x93\x91\xa4ok x\x80\x80", "application/x-msgpack", "binary"),
        "another encoding": (
            json.dumps([["ok x"], {}, EMBED]).encode("utf-16"),
            "application/json",
            "utf-8",
        ),
    }


def _publish(
    bench: Bench, body: bytes, content_type: str | None, encoding: str | None, **headers: object
) -> str:
    """Publish a raw message as the operator may; returns its id."""
    step_id = str(uuid4())
    complete = {"id": step_id, "task": TASK, "lang": "py", "root_id": step_id, **headers}
    url = bench.fleet.broker_url("operator")
    with Connection(url, transport_options={"confirm_publish": True}) as connection:
        channel: Any = connection.default_channel
        message = channel.prepare_message(
            body,
            content_type=content_type,
            content_encoding=encoding,
            headers=complete,
            properties={"message_id": step_id, "correlation_id": step_id, "delivery_mode": 2},
        )
        channel.basic_publish(message, load().work_exchange, POOL, mandatory=True)
    return step_id


def _dead_letter(bench: Bench, step_id: str) -> Any:
    found: dict[str, Any] = {}

    def arrived() -> Any:
        found.update({m.properties.get("message_id"): m for m in bench.dead_letters()})
        return found.get(step_id)

    return wait_until(arrived, SECONDS, f"no dead letter; {bench.fleet.log(POOL)[-1500:]}")


def _whole(message: Any) -> bytes:
    # The client decodes what says that it is UTF-8, and leaves what is not.
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


def _is_well(bench: Bench, starts: list[str]) -> bool:
    """The same process still works."""
    ids = bench.send(TASK, *names("ok"))
    return bench.ended(ids) == ["done"] and bench.lines("start") == starts


@pytest.mark.parametrize("name", _bodies(Path("x")))
def test_what_is_no_json_is_dead_lettered_unread(bench: Bench, tmp_path: Path, name: str) -> None:
    """Nothing in it runs, it is kept whole, and the process and its neighbours go on."""
    marker = tmp_path / "ran"
    body, content_type, encoding = _bodies(marker)[name]
    starts = bench.lines("start")

    step_id = _publish(bench, body, content_type, encoding)

    assert _whole(_dead_letter(bench, step_id)) == body
    assert _is_well(bench, starts)
    assert not marker.exists()


def test_the_bodies_would_have_run(tmp_path: Path) -> None:
    """Read without restraint, a pickle and a YAML of the test above do make their file."""
    bodies = _bodies(tmp_path / "ran")
    pickle.loads(bodies["pickle"][0])
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    yaml.unsafe_load(bodies["yaml"][0])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "argument",
    [
        {"__type__": "os.system", "__value__": "touch {marker}"},
        {"__type__": "uuid", "__value__": "no uuid"},
        {"__type__": ["uuid"], "__value__": {}},
        {"__type__": "bytes", "__value__": "AAAA"},
        {"__class__": "subprocess.Popen", "args": ["touch {marker}"]},
        {"__module__": "os", "__reduce__": "system"},
        {"task": "celery.backend_cleanup", "options": {"queue": "maintenance"}},
    ],
    ids=lambda value: next(iter(value)) + ":" + str(next(iter(value.values())))[:12],
)
def test_json_that_names_a_type_is_data(bench: Bench, tmp_path: Path, argument: Any) -> None:
    """Kombu's typed values and others' conventions make no object that does anything: the step is dead."""
    marker = tmp_path / "ran"
    text = json.dumps([[argument], {}, EMBED]).replace("{marker}", str(marker))
    starts = bench.lines("start")

    step_id = _publish(bench, text.encode(), "application/json", "utf-8")

    _dead_letter(bench, step_id)
    assert _is_well(bench, starts)
    assert not marker.exists()


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"[" * 50_000 + b"]" * 50_000, b'[["ok"], {}, ' + b'{"a":' * 50_000],
    ids=["open lists", "closed lists", "open objects"],
)
def test_nesting_without_end_ends_one_message(bench: Bench, body: bytes) -> None:
    """The decoder's limit is that message's failure, not the process's."""
    starts = bench.lines("start")
    step_id = _publish(bench, body, "application/json", "utf-8")
    assert _whole(_dead_letter(bench, step_id)) == body
    assert _is_well(bench, starts)


def test_a_command_in_pickle_is_not_read(bench: Bench, tmp_path: Path) -> None:
    """Who may send commands, such as Flower, may send them in JSON only; the worker answers on."""
    marker = tmp_path / "ran"
    starts = bench.lines("start")
    url = bench.fleet.broker_url("flower")
    with Celery(broker=url, set_as_current=False) as app:
        assert app.control.ping(timeout=5, limit=1)
        with Connection(url) as connection:
            channel: Any = connection.default_channel
            message = channel.prepare_message(
                pickle.dumps({"method": "ping", "arguments": Touch(marker)}),
                content_type="application/x-python-serialize",
                content_encoding="binary",
            )
            channel.basic_publish(message, "celery.pidbox", "")
        assert app.control.ping(timeout=5, limit=1)
    assert _is_well(bench, starts)
    assert not marker.exists()

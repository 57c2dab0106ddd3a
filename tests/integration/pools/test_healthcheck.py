"""`python -m services.healthcheck` on real processes: what a supervisor and a deploy learn of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from services import healthcheck
from tests.integration.pools.conftest import POOL, Operate, process_ids
from tests.integration.runner.conftest import MODULE, SECONDS, VHOST, Bench
from tests.support.fleet import ROOT, wait_until
from tests.support.ports import free_port
from tests.support.rabbitmq import ADMINISTRATOR

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]) -> Check:
    """Its exit code and its line."""

    def command(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        code = healthcheck.main([str(each) for each in arguments])
        return code, capfd.readouterr().out.strip()

    return command


def _file(bench: Bench, name: str = "1") -> Path:
    return bench.directory / f"heartbeat.{name}"


def test_a_worker_at_work(bench: Bench, check: Check) -> None:
    """Alive and useful; the loop turns each second."""
    for options in ((), ("--useful",)):
        code, said = check("worker", "--file", _file(bench), *options)
        assert code == 0
        assert said.startswith("consuming; its loop turned ")


def test_a_drained_worker(bench: Bench, operate: Operate, check: Check) -> None:
    """Alive, and not useful."""
    assert operate("pool", "drain", POOL)[0] == 0
    wait_until(lambda: check("worker", "--file", _file(bench))[1].startswith("draining"), SECONDS)
    assert check("worker", "--file", _file(bench))[0] == 0
    assert check("worker", "--file", _file(bench), "--useful") == (1, "alive, but draining")


def test_a_worker_without_a_broker(bench: Bench, check: Check) -> None:
    """Alive for as long as the broker is away: another process would do no better."""
    bench.node.stop()
    said = "reconnecting"
    wait_until(lambda: check("worker", "--file", _file(bench))[1].startswith(said), SECONDS)
    assert check("worker", "--file", _file(bench))[0] == 0
    assert check("worker", "--file", _file(bench), "--useful") == (1, f"alive, but {said}")
    bench.node.start()
    wait_until(lambda: check("worker", "--file", _file(bench), "--useful")[0] == 0, 60)


def test_a_worker_that_stands_still(
    bench: Bench, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not alive, although the process is there; here after two seconds."""
    monkeypatch.setitem(healthcheck._SILENCE_SECONDS, "consuming", 2.0)
    files = _file(bench), _file(bench, "2")
    pid = process_ids(bench)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: sorted(check("worker", "--file", f)[0] for f in files) == [0, 1])
        complaints = [check("worker", "--file", file)[1] for file in files]
        assert any("its loop has not turned for" in each for each in complaints)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: [check("worker", "--file", file)[0] for file in files] == [0, 0])


def test_beats(bench: Bench, check: Check) -> None:
    """One leads and one stands by, both as useful as they can be; without a broker both are alive."""
    for name in ("a", "b"):
        file = {"DOORBELL_HEARTBEAT_FILE": str(_file(bench, name))}
        bench.fleet.start(f"beat {name}", "services.schedule", user="beat", **file)

    def said() -> set[str]:
        lines = [check("beat", "--file", _file(bench, name)) for name in ("a", "b")]
        assert [code for code, _ in lines] in ([0, 0], [1, 0], [0, 1], [1, 1])
        return {line.partition(";")[0] for code, line in lines if code == 0}

    wait_until(lambda: said() == {"leading", "standing by"}, SECONDS)
    assert check("beat", "--file", _file(bench, "a"), "--useful")[0] == 0
    assert check("beat", "--file", _file(bench, "b"), "--useful")[0] == 0
    for name in ("a", "b"):
        bench.fleet.kill(f"beat {name}")


def test_a_beat_that_starts_without_a_broker(bench: Bench, check: Check) -> None:
    """It waits for one, and is alive."""
    bench.fleet.start(
        "beat c",
        "services.schedule",
        user="beat",
        DOORBELL_HEARTBEAT_FILE=str(_file(bench, "c")),
        DOORBELL_BROKER_URL=f"pyamqp://beat:x@127.0.0.1:{free_port()}/doorbell",
    )
    said = "waiting for the broker"
    wait_until(lambda: check("beat", "--file", _file(bench, "c"))[1].startswith(said), SECONDS)
    assert check("beat", "--file", _file(bench, "c"), "--useful") == (1, f"alive, but {said}")
    bench.fleet.kill("beat c")


def test_doors(bench: Bench, check: Check, tmp_path: Path) -> None:
    """The gateway and the outlier API are asked over HTTP; a gateway without a database is alive, not useful."""
    gateway, outlier = free_port(), free_port()
    bench.fleet.start(
        "door",
        "services.gateway",
        user="gateway",
        DOORBELL_LISTEN_PORT=str(gateway),
        DOORBELL_DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
    )
    scores = ("--port", str(outlier), "--database", str(tmp_path / "scores"))
    bench.fleet.start("scores", "services.outlier", scores, user="gateway")
    assert check("gateway", "--port", free_port())[0] == 1
    wait_until(lambda: check("gateway", "--port", gateway)[0] == 0, SECONDS)
    wait_until(lambda: check("outlier-api", "--port", outlier, "--useful")[0] == 0, SECONDS)
    code, said = check("gateway", "--port", gateway, "--useful")
    assert code == 1
    assert f"port {gateway} answers 503 to /readyz" in said
    for name in ("door", "scores"):
        bench.fleet.kill(name)


def test_it_starts_with_the_standard_library_alone(bench: Bench) -> None:
    """A supervisor starts it every few seconds on every host."""
    script = (
        "import sys, services.healthcheck as h; code = h.main();"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, "worker"],
        env={"DOORBELL_HEARTBEAT_FILE": str(_file(bench))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['__main__', 'services']"


def test_a_worker_whose_control_queue_is_locked(bench: Bench, check: Check) -> None:
    """As behind a lost node of the broker, until the others notice: it tries about once a second, and is alive."""
    file = _file(bench, "locked")
    queue = f"{POOL}.3@{socket.gethostname()}.celery.pidbox"
    with Connection(
        bench.node.broker_url(ADMINISTRATOR, bench.node.password, VHOST)
    ) as administrator:
        channel: Any = administrator.default_channel
        channel.queue_declare(queue, exclusive=True)
        heartbeat = {"DOORBELL_HEARTBEAT_FILE": str(file)}
        bench.fleet.start("locked", MODULE, (POOL, "3"), user=POOL, **heartbeat)
        began = _wait_for_refusals(bench, 1)
        assert _wait_for_refusals(bench, 4) - began > 2.5
        assert check("worker", "--file", file)[0] == 0
    wait_until(lambda: check("worker", "--file", file, "--useful")[0] == 0, SECONDS)
    assert bench.fleet.stop("locked") == 0


def _wait_for_refusals(bench: Bench, count: int) -> float:
    """The time at which a worker has been refused so often."""
    wait_until(lambda: bench.fleet.log("locked").count("RESOURCE_LOCKED") >= count, SECONDS)
    return time.monotonic()

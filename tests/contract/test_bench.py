"""`make bench`: what it computes of what it measured, and what it says about its conditions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.bench import plot, report
from tests.bench.__main__ import main
from tests.bench.cpu import Consumption, cpu_seconds, resident_bytes
from tests.bench.doorbell import Doorbell
from tests.bench.load import logins
from tests.bench.result import Latency, Result, Side, Steady, Throughput, percentile
from tests.bench.senders import Senders
from tests.bench.traffic import Traffic

_BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"


def run(stored: int, seconds: float, sent: int | None = None) -> Throughput:
    """A run as the benchmark would have measured it."""
    cpu = Consumption(
        seconds, {"worker": 3.0, "broker": 1.0}, 0.5, 0.1, {"worker": 96 * 1024 * 1024}
    )
    traffic = Traffic(7 * stored, 9 * stored, 7 * stored, 6 * stored, 10_000, 20_000)
    return Throughput(sent or stored, stored, seconds, cpu, traffic)


def result(doorbell: Throughput, plain: Throughput, load: float = 0.1) -> Result:
    """A whole result with one round."""
    latency = Latency(2, [0.02, 0.04], [0.03, 0.05], doorbell.cpu)
    sides = [Side("Doorbell", "ours", [doorbell]), Side("plain", "theirs", [plain])]
    steady = [Steady(80, 40.0, 100, [0.1, 0.3], [], doorbell.cpu)]
    return Result(2, load, sides, latency, steady)


def test_percentiles_are_values_that_were_measured() -> None:
    """Nearest rank: the p99 of few values is the largest, never one in between."""
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99)) == (50, 99)
    assert percentile([3.0, 1.0, 2.0], 99) == 3


def test_the_ratio_is_of_logins_per_second() -> None:
    """Twice the time for as many logins is half the rate."""
    measured = result(run(100, 2.0), run(100, 4.0))
    assert measured.ratio(measured.sides[1]) == 2
    assert "2.00 times plain" in report.as_text(measured)


def test_rounds_are_compared_each_with_its_own() -> None:
    """A machine that is half as fast in the second round changes no ratio."""
    measured = result(run(100, 2.0), run(100, 4.0))
    for side, seconds in zip(measured.sides, (4.0, 8.0), strict=True):
        side.runs.append(run(100, seconds))
    measured.sides[1].runs.append(run(100, 1.0))
    assert measured.ratio(measured.sides[1]) == 2
    assert measured.sides[0].logins_per_second == 37.5


def test_a_run_that_was_cut_off_says_so_and_is_not_complete() -> None:
    """A rate over what was stored by the deadline is never shown without that word."""
    measured = result(run(50, 10.0, sent=100), run(100, 10.0))
    assert not measured.is_complete
    assert "STOPPED by the deadline, 100 were sent" in report.as_text(measured)


@pytest.mark.parametrize(("load", "is_warned"), [(0.1, False), (3.0, True)])
def test_a_busy_machine_is_mentioned_beside_the_numbers(load: float, is_warned: bool) -> None:
    """Whoever reads the tables later must see that something else was running."""
    text = report.as_text(result(run(10, 1.0), run(10, 1.0), load))
    assert ("warning: the load average is" in text) == is_warned


def test_json_has_the_raw_numbers() -> None:
    """Each latency and each process's seconds, so that others can compute something else."""
    found = json.loads(report.as_json(result(run(100, 2.0), run(100, 4.0))))
    assert found["latency"]["database"] == [0.02, 0.04]
    ours = found["sides"][0]["runs"][0]
    assert ours["cpu"]["by_process"] == {"worker": 3.0, "broker": 1.0}
    assert ours["traffic"]["published"] == 700
    assert found["ratios"] == {"plain": 2}


def test_what_a_login_costs_the_broker_and_the_memory_is_told() -> None:
    """Messages and bytes for each login, megabytes for each process."""
    text = report.as_text(result(run(100, 2.0), run(100, 4.0)))
    assert "7.0 messages published" in text
    assert re.search(r"worker +30\.00 +96 MiB", text)


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    """One bar for each side that was measured."""
    plot.draw(result(run(100, 2.0), run(100, 4.0)), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_share_of_the_peak_says_what_is_missing() -> None:
    """Logins without a verdict are in no percentile, and so are counted beside them."""
    text = report.as_text(result(run(100, 2.0), run(100, 4.0)))
    assert "80%,  40.0 a second: verdict p50    100 ms  p99    300 ms   notice none" in text
    assert "2 of 100 judged" in text


def test_unknown_sides_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error says which there are; nothing was started."""
    with pytest.raises(SystemExit):
        main(["--against", "plain,huey"])
    assert (
        "'huey' is none of unwatched, plain, careful, dramatiq, taskiq, floor"
        in capsys.readouterr().err
    )


def test_cpu_time_counts_children_with_their_parent_unless_they_are_named() -> None:
    """What a process's child uses is its own, and nothing counts twice."""
    with subprocess.Popen([sys.executable, "-c", _BURN], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            apart = cpu_seconds({"self": os.getpid(), "child": child.pid})
            # Later: what this process has used meanwhile is no less.
            together = cpu_seconds({"self": os.getpid()})["self"]
        finally:
            child.kill()
    assert apart["child"] >= 0.25
    assert together >= apart["self"] + 0.25 - 0.1


def test_a_stopped_process_costs_nothing() -> None:
    """Supervisord has 0 for its pid, which is also what the first process of all has for its parent's."""
    assert cpu_seconds({"stopped": 0}) == {"stopped": 0.0}
    assert resident_bytes({"stopped": 0}) == {"stopped": 0}


def test_each_run_has_logins_of_its_own() -> None:
    """As many as asked for, even beyond the samples, and no user or event twice between runs."""
    first, second = logins(3000, "a"), logins(10, "b")
    assert len({login["event_id"] for login in first + second}) == 3010
    assert {login["user_id"] for login in first}.isdisjoint(login["user_id"] for login in second)


def test_a_directory_that_is_no_cluster_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing mistake in --root must not delete anything."""
    (tmp_path / "thesis.txt").write_text("the only copy")
    began = time.monotonic()
    assert main(["--root", str(tmp_path)]) == 2
    assert "is not a cluster's directory" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()
    assert time.monotonic() - began < 5


def test_memory_is_what_a_process_holds() -> None:
    """A hundred megabytes more are seen, and a process that is gone has none."""
    before = resident_bytes({"self": os.getpid()})["self"]
    held = bytearray(os.urandom(1024)) * 100 * 1024
    after = resident_bytes({"self": os.getpid(), "gone": 2**22 + 1})
    assert len(held) == 100 * 1024 * 1024
    assert after["self"] - before > 90 * 1024 * 1024
    assert after["gone"] == 0


@contextmanager
def gateway_that(answers: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Doorbell]:
    """A door that answers every POST like this, for senders alone."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answers(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        endpoints = {"gateway": f"http://127.0.0.1:{server.server_port}", "api_key": "key"}
        try:
            yield cast(Doorbell, SimpleNamespace(endpoints=endpoints))
        finally:
            server.shutdown()


def test_who_waits_for_senders_hears_why_they_send_no_more() -> None:
    """A gateway that refuses ends the measurement instead of holding it up for ever."""
    with gateway_that(lambda handler: handler.send_error(500)) as doorbell:
        senders = Senders(doorbell, number=2, together=1, rate=None)
        senders.start()
        with pytest.raises(RuntimeError, match="the gateway answered 500"):
            senders.wait_for(1)


def test_logins_at_a_rate_come_in_whole_batches() -> None:
    """A request costs the gateway and the database too: fewer logins in each is another load."""
    sizes = []

    def accept(handler: BaseHTTPRequestHandler) -> None:
        posted = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))["logins"]
        sizes.append(len(posted))
        body = json.dumps({"results": [{"workflow_id": "w"} for _ in posted]}).encode()
        handler.send_response(202)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with gateway_that(accept) as doorbell:
        senders = Senders(doorbell, number=2, together=50, rate=1000)
        senders.start()
        senders.wait_for(200)
        senders.stop()

    assert set(sizes) == {50}

"""What hosts tell Prometheus of their certificates."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port

_PROGRAM = Path(__file__).resolve().parents[2] / "ansible/roles/exporter/files/certificate_ends"


def _hours_left(told: Path, *names: Path | str) -> list[float]:
    """What the program tells of each, in hours from now; Prometheus takes it."""
    subprocess.run([_PROGRAM, told, *names], check=True)
    subprocess.run(["promtool", "check", "metrics"], input=told.read_bytes(), check=True)
    assert [path.name for path in told.parent.glob("told*")] == ["told.prom"]
    lines = [line.split() for line in told.read_text().splitlines() if line[0] != "#"]
    return [(float(line[-1]) - time.time()) / 3600 for line in lines]


@contextmanager
def _shown(certificate: Certificate) -> Iterator[str]:
    """The address of a server that shows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_the_first_certificate_of_a_file_to_end_counts(tmp_path: Path) -> None:
    """Beside a key too; a file without any counts as one that ended long ago."""
    made = Authority(tmp_path).issue("localhost")
    both, empty = tmp_path / "both.pem", tmp_path / "empty.pem"
    both.write_text(made.file.read_text() + made.key.read_text())
    empty.write_text(made.key.read_text())
    first, *others = _hours_left(tmp_path / "told.prom", both, empty, tmp_path / "missing")
    assert 47 < first < 49
    assert len(others) == 2
    assert max(others) < 0


def test_what_a_server_shows_counts_beside_its_file(tmp_path: Path) -> None:
    """One that does not answer is not told of: that is no certificate that ends."""
    with _shown(Authority(tmp_path).issue("localhost")) as address:
        hours = _hours_left(tmp_path / "told.prom", f"127.0.0.1:{free_port()}", address)
    assert len(hours) == 1
    assert 47 < hours[0] < 49

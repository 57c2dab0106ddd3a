"""Debian's packages for hosts that have no way out: a mirror that fetches each file once and keeps it.

`python -m tests.hosts.packages SOCKET DIRECTORY` serves this machine's own mirrors, as its apt
knows them, on a UNIX socket: that is the one door that leads into the hosts' network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
# Their names change with their contents.
_LASTING = ("/pool/", "/by-hash/")
_FETCH_SECONDS = 120


class MirrorError(Exception):
    """This machine's apt names no mirror; the message says what to do."""


def mirrors() -> Mapping[str, str]:
    """The mirrors of Debian and of its security updates, by the names that hosts know them by."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, str] = {}
    for line in told.splitlines():
        uri, release, component = line.split()
        if component == "main":
            name = "debian-security" if release.endswith("-security") else "debian"
            found.setdefault(name, uri.rstrip("/"))
    if set(found) != {"debian", "debian-security"}:
        raise MirrorError(
            "apt names no mirror of Debian and of its security updates: run apt-get update"
        )
    return found


class Shelf:
    """Files of mirrors, kept in a directory. Safe for several threads."""

    def __init__(self, directory: Path, uris: Mapping[str, str]) -> None:
        self._directory = directory
        self._uris = uris
        self._fresh: set[str] = set()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, path: str) -> Path | None:
        """The file at `/MIRROR/...`; None when the mirror has none."""
        name, _, rest = path.lstrip("/").partition("/")
        if name not in self._uris or ".." in rest.split("/"):
            return None
        kept = self._directory / name / rest
        with self._locks[path]:
            is_lasting = any(part in path for part in _LASTING)
            if not (kept.exists() and (is_lasting or path in self._fresh)):
                self._renew(f"{self._uris[name]}/{rest}", kept)
                self._fresh.add(path)
        return kept if kept.exists() else None

    def _renew(self, url: str, kept: Path) -> None:
        try:
            self._fetch(url, kept)
        except OSError:
            # Lists of some days ago are as good while their packages are kept beside them.
            if not kept.exists():
                raise

    def _fetch(self, url: str, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            part = Path(file.name)
            try:
                with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:
                    shutil.copyfileobj(answer, file)
            except urllib.error.HTTPError as error:
                part.unlink()
                if error.code != 404:
                    raise
                return
            except BaseException:
                part.unlink()
                raise
        part.chmod(0o644)
        part.replace(kept)


def _handler(shelf: Shelf) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                kept = shelf.get(self.path)
            except OSError as error:
                self.send_error(502, str(error))
                return
            if kept is None:
                self.send_error(404)
                return
            with kept.open("rb") as file:
                self.send_response(200)
                self.send_header("Content-Length", str(kept.stat().st_size))
                self.end_headers()
                shutil.copyfileobj(file, self.wfile)

        def address_string(self) -> str:
            return "a host"

        def log_message(self, *_: Any) -> None:
            """Keep the run's output clean."""

    return Handler


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A host that was killed has closed its connection: nothing to report."""


def main() -> int:
    """Serve until killed."""
    socket, directory = sys.argv[1:]
    try:
        shelf = Shelf(Path(directory), mirrors())
    except MirrorError as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    with _Server(socket, _handler(shelf)) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Certificates for tests, made with the openssl program: an authority, and what it issues."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, for server and client use."""

    file: Path
    key: Path


class Authority:
    """A CA of its own in a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.file = directory / f"{name}.crt"
        self._key = directory / f"{name}.key"
        _openssl("-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file)

    def issue(self, name: str, *names: str) -> Certificate:
        """A certificate of `name` for the addresses and names that follow, or for `name` alone."""
        made = Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        alternatives = ",".join(_alternative(each) for each in names or (name,))
        _openssl(
            *("-subj", f"/CN={name}", "-keyout", made.key, "-out", made.file),
            *("-CA", self.file, "-CAkey", self._key),
            *("-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=CA:FALSE"),
            *("-addext", "extendedKeyUsage=serverAuth,clientAuth"),
        )
        return made


def _alternative(name: str) -> str:
    return f"IP:{name}" if name.replace(".", "").isdigit() else f"DNS:{name}"


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", "req", "-x509", "-days", "2", *_KEY, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

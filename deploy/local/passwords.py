"""The secrets of a local cluster: made once, each in a file of its own that only the owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read_or_make(path: Path) -> str:
    """Return the secret in the file at `path`, making a random one when there is no such file."""
    if path.exists():
        return path.read_text().strip()
    return write(path, secrets.token_urlsafe(24))


def write(path: Path, secret: str) -> str:
    """Put a secret into a file with mode 0600, in one step, and return it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    temporary.replace(path)
    return secret

"""A physical copy of a running database server, and the way back to that moment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

from tests.support.postgres import PrivatePostgres, find_binaries


class Backup:
    """What all databases of a server held at one moment; `remove` deletes it."""

    def __init__(self, postgres: PrivatePostgres) -> None:
        """Take it; the server goes on working meanwhile. The moment is the end of this call."""
        self._postgres = postgres
        self._owner = postgres.data.stat()
        self._directory = Path(mkdtemp(prefix="doorbell-backup-"))
        copy = self._directory / "data"
        shutil.chown(self._directory, self._owner.st_uid, self._owner.st_gid)
        self._run(
            find_binaries() / "pg_basebackup",
            f"--dbname={postgres.url('postgres')}",
            f"--pgdata={copy}",
            "--checkpoint=fast",
            "--no-sync",
        )
        self._copy = copy

    def restore(self) -> None:
        """Stop the server, put the copy in the place of its data, start it: later work is gone."""
        self._postgres.stop()
        shutil.rmtree(self._postgres.data)
        self._run("cp", "-a", self._copy, self._postgres.data)
        self._postgres.start()

    def remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self, *command: str | Path) -> None:
        owner = self._owner
        subprocess.run(command, check=True, cwd="/", user=owner.st_uid, group=owner.st_gid)

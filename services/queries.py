"""SQL stands in .sql files; this reads them by name."""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(package: str, file: str) -> dict[str, str]:
    """The queries of one .sql file by name; each starts with `-- name: x` and a line of purpose.

    Raises:
        ValueError: when a name occurs twice.
    """
    text = (resources.files(package) / "sql" / file).read_text()
    parts = _NAME.split(text)
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/sql/{file}: a query name occurs twice")
    return dict(zip(names, (body.strip() for body in bodies), strict=True))

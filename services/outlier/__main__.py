"""Serves the reference outlier API: `python -m services.outlier --database FILE`."""

from __future__ import annotations

import argparse
import socket
import sqlite3
from pathlib import Path

import uvicorn
from prometheus_client import start_http_server

from services.garbage import settle_down
from services.observability import logs
from services.outlier.app import KEEP_MONTHS, create_app
from services.outlier.metrics import Metrics
from services.outlier.model import Thresholds
from services.outlier.store import Store

_MOST_MONTHS = 120


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.outlier", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--database", type=Path, required=True, help="SQLite file")
    parser.add_argument("--api-key-file", type=Path, help="require this file's content as key")
    parser.add_argument("--metrics-host", default="127.0.0.1")
    parser.add_argument(
        "--metrics-port", type=int, help="serve the metrics on a port of their own too"
    )
    usual = Thresholds()
    parser.add_argument("--medium", type=float, default=usual.medium, metavar="SCORE")
    parser.add_argument("--high", type=float, default=usual.high, metavar="SCORE")
    parser.add_argument(
        "--keep-months",
        type=int,
        default=KEEP_MONTHS,
        metavar="MONTHS",
        help="forget logins of before so many whole months (%(default)s); 0: never",
    )
    options = parser.parse_args()
    if not 0 <= options.keep_months <= _MOST_MONTHS:
        parser.error(f"--keep-months must be from 0 to {_MOST_MONTHS}")
    try:
        thresholds = Thresholds(options.medium, options.high)
        api_key = options.api_key_file and _key(options.api_key_file)
        options.database.parent.mkdir(parents=True, exist_ok=True)
        Store(options.database).close()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except sqlite3.Error as error:
        parser.error(f"cannot use {options.database} as database: {error}")
    logs.configure("INFO", process="outlier", host=socket.gethostname())
    _serve(options, thresholds, api_key)


def _serve(options: argparse.Namespace, thresholds: Thresholds, api_key: str | None) -> None:
    metrics = Metrics()
    app = create_app(options.database, thresholds, api_key, metrics, options.keep_months)
    if options.metrics_port:
        start_http_server(options.metrics_port, options.metrics_host, metrics.registry)
    settle_down()
    uvicorn.run(app, host=options.host, port=options.port, access_log=False, log_config=None)


def _key(path: Path) -> str:
    key = path.read_text().strip()
    if not key:
        raise ValueError(f"{path} is empty: put the API key into it")
    return key


if __name__ == "__main__":
    main()

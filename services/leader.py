"""Makes one process of a kind the only one that works: an advisory lock of its own PostgreSQL session."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection

from services.queries import load_queries

logger = logging.getLogger(__name__)

EXIT_STATUS = 75
"""os.EX_TEMPFAIL: supervisors start the process again, and it waits for its turn."""

_RETRY_SECONDS = 1.0
_CHECK_SECONDS = 5.0
_SQL = load_queries("services", "leader.sql")


def become_leader(
    connect: Callable[[], Connection[Any]],
    name: str,
    on_wait: Callable[[str], object] = lambda _: None,
) -> Connection[Any]:
    """Wait until no other process leads `name`; also while PostgreSQL is away.

    The caller leads as long as the connection lives. When it is lost, another
    may lead: this process then ends at once.
    on_wait: told every few seconds what is waited for.
    """
    connection = _locked(connect, name, on_wait)
    logger.info("this process leads %s", name)
    watcher = threading.Thread(target=_watch, args=(connection, name), daemon=True)
    watcher.start()
    return connection


def _locked(
    connect: Callable[[], Connection[Any]], name: str, on_wait: Callable[[str], object]
) -> Connection[Any]:
    pause = threading.Event()
    while True:
        try:
            connection = connect()
            connection.autocommit = True
            connection.execute(_SQL["wait_a_little"].encode())
            while not _leads(connection, name):
                on_wait("standing by")
            return connection
        except psycopg.OperationalError as error:
            logger.warning("PostgreSQL is away, nobody leads %s: %s", name, error)
            on_wait("waiting for PostgreSQL")
            pause.wait(_RETRY_SECONDS)


def _leads(connection: Connection[Any], name: str) -> bool:
    try:
        connection.execute(_SQL["lead"].encode(), {"name": name})
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _watch(connection: Connection[Any], name: str) -> None:
    pause = threading.Event()
    try:
        while not pause.wait(_CHECK_SECONDS):
            connection.execute(_SQL["still_there"].encode())
    except psycopg.Error as error:
        logger.critical("no longer leading %s, ending: %s", name, error)
        os._exit(EXIT_STATUS)

"""Every record of a process is redacted, whoever wrote it and whichever handler shows it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.fleet import ROOT

SETUP = """
import logging, threading, warnings
from services.observability import logs
logs.configure("INFO")
"""
EVERY_WAY = {
    "an argument": "logging.getLogger('any').info('to %s', 'ada@example.org')",
    "a message": "logging.getLogger('any').info('to ada@example.org')",
    "an exception": """
try:
    raise ValueError('to ada@example.org')
except ValueError:
    logging.getLogger('any').exception('as seen')
""",
    "its cause": """
try:
    try:
        raise KeyError('to ada@example.org')
    except KeyError as error:
        raise ValueError('as seen') from error
except ValueError:
    logging.getLogger('any').exception('as seen')
""",
    "a library's own handler": """
logger = logging.getLogger('library')
logger.addHandler(logging.StreamHandler())
logger.propagate = False
logger.error('to ada@example.org', exc_info=ValueError('to ada@example.org'))
""",
    "a thread that ends": """
def fail():
    raise ValueError('to ada@example.org')
thread = threading.Thread(target=fail, name='intake')
thread.start()
thread.join()
""",
    "a process that ends": "raise ValueError('to ada@example.org')",
    "what it is about": "logging.getLogger('any').info('x', extra={'step': 'ada@example.org'})",
    "a warning": "logging.captureWarnings(True)\nwarnings.warn('to ada@example.org')",
}


@pytest.mark.parametrize("way", EVERY_WAY)
def test_nothing_personal_reaches_standard_error(way: str) -> None:
    """However it is said, the line is there and the address is not."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + EVERY_WAY[way]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert "[email]" in done.stderr
    assert "ada" not in done.stderr.replace("'to ada@example.org'", "")
    assert done.returncode == (1 if way == "a process that ends" else 0)


def test_an_event_is_one_line_of_json() -> None:
    """However many lines its text and its traceback have; fields without a value are left out."""
    told = """
logs.configure("INFO", process="gateway", host="h1")
with logs.concerning({"workflow": "w", "step": None}):
    try:
        raise ValueError("two\\nlines")
    except ValueError:
        logging.getLogger("any").exception("and\\nhere", extra={"task": "t"})
"""
    done = subprocess.run(
        [sys.executable, "-c", "import logging\nfrom services.observability import logs\n" + told],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    [line] = done.stderr.splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert "ValueError: two\nlines" in fields.pop("error")
    assert fields == {
        "level": "error",
        "event": "and\nhere",
        "workflow": "w",
        "task": "t",
        "process": "gateway",
        "host": "h1",
        "logger": "any",
    }

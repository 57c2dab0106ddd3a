"""What the doctor says of the outlier API that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.adapters.servers import http_server
from tests.integration.cli.conftest import Run
from tests.support.outlier_process import serving


def _finding(doorbell: Run) -> tuple[str, str]:
    _, findings = doorbell("doctor")
    [found] = [each for each in findings if each["what"] == "outlier API"]
    return found["verdict"], found["detail"]


@pytest.mark.parametrize("key", [False, True], ids=["open", "with a key"])
def test_the_reference_is_well(
    database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: bool
) -> None:
    """Also for a doctor that does not have its key."""
    (tmp_path / "key").write_text("a-key-of-the-api\n")
    options = ("--api-key-file", str(tmp_path / "key")) if key else ()
    with serving(tmp_path / "outlier.sqlite", *options) as api:
        monkeypatch.setenv("OUTLIER_API_URL", api.url)
        assert _finding(doorbell)[0] == "ok"


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, "has no POST /v1/score"), (405, "no POST"), (308, "redirects"), (500, "answers 500")],
)
def test_what_is_no_outlier_api_is_wrong(
    database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    """A server that answers, but could judge no login."""
    with http_server(lambda _: (status, {}, b"")) as server:
        monkeypatch.setenv("OUTLIER_API_URL", server.url)
        verdict, detail = _finding(doorbell)
    assert verdict == "wrong"
    assert told in detail
    assert [each.path for each in server.received] == ["/v1/score"]

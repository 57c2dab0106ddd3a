"""Pages about what operators do, gone through in containers as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.compose.conftest import unhealthy
from tests.compose.grounds import Composed
from tests.compose.stack import ROOT, Stack
from tests.e2e.logins import Logins
from tests.e2e.waiting import wait_until
from tests.gamedays.following import END_SECONDS, follow, report, wait_for, wait_for_canary
from tests.gamedays.inbox import inbox

pytestmark = pytest.mark.timeout(1800)

_WELL_SECONDS = 180.0
_SETTINGS = ROOT / ".env"
_COMMIT = "$(git rev-parse --short=12 HEAD)"
_BACKUP = ROOT / "doorbell.dump"


@pytest.fixture(scope="module")
def ground(
    stack: Stack, api_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    """The project, under logins."""
    with inbox(stack.gateway_address()) as box:
        found = Composed(stack, api_key, box, tmp_path_factory.mktemp("operations"))
        with Logins(found.endpoints):
            yield found


@pytest.fixture(autouse=True)
def _is_well(stack: Stack, ground: Composed) -> Iterator[None]:
    """Before and after each: every container healthy, and a canary that comes back."""
    yield
    wait_until(lambda: not unhealthy(stack), _WELL_SECONDS, "every container to be healthy")
    wait_for_canary(ground)


@pytest.fixture
def own_names(stack: Stack, api_key: str, ground: Composed, tmp_path: Path) -> Iterator[Composed]:
    """The same project, by who has the name of its image in `.env` and not in the environment."""
    before = _SETTINGS.read_bytes() if _SETTINGS.exists() else None
    try:
        yield Composed(stack, api_key, ground.box, tmp_path, without=("FLEET_IMAGE",))
    finally:
        _SETTINGS.unlink(missing_ok=True)
        if before is not None:
            _SETTINGS.write_bytes(before)


def page(ground: Composed, name: str, section: str, /, **given: str) -> str:
    """Go through a page's section for containers."""
    return follow(ground, name, section, "containers", **given)


def done(ground: Composed, user: str) -> str:
    """Report a login, as often as an application would, and wait until it is done."""
    accepted: list[str] = []

    def is_accepted() -> bool:
        try:
            answer = report(ground, user)
        except OSError:
            return False
        if answer.status_code == 202:
            accepted.append(str(answer.json()["workflow_id"]))
        return answer.status_code == 202

    wait_until(is_accepted, _WELL_SECONDS, "a login to be accepted")
    wait_for(ground, accepted[0])
    return accepted[0]


def images(stack: Stack, service: str) -> set[str]:
    return {str(container["Image"]) for container in stack.containers(service)}


def secrets(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_passwords_are_rotated(stack: Stack, ground: Composed) -> None:
    """Each is another one, and the old ones open nothing."""
    before, old_url = secrets(stack.secrets), ground.endpoints["database_url"]
    done(ground, "with-old-passwords")

    page(ground, "rotate-secrets-and-certificates", "In containers")

    done(ground, "with-new-passwords")
    after = secrets(stack.secrets)
    changed = {name for name in before if before[name] != after[name]}
    kept = {"smtp_url", "alert_receiver_password", "database_admin_password", "erlang_cookie"}
    assert after.keys() == before.keys()
    assert set(before) - changed == kept | {
        *("flower_auth", "flower_viewers_auth", "grafana_password")
    }
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(old_url)
    told = ground.run(
        f"docker compose exec -T rabbitmq rabbitmqctl authenticate_user gateway"
        f" '{before['broker/gateway'].strip()}' && echo still || true"
    )
    assert "still" not in told.splitlines()


def test_a_pool_is_drained(ground: Composed) -> None:
    """Its queue grows, and is worked off when it is resumed."""
    printed = page(ground, "drain-a-host", "Only its workers, or a pool")
    assert "empty" in printed
    workflow = report(ground, "waits").json()["workflow_id"]
    stored = f"SELECT state FROM step WHERE workflow_id = '{workflow}' AND queue = 'db_writes'"
    wait_until(lambda: ("ready",) in ground.rows(stored), END_SECONDS, "work to wait")

    page(ground, "drain-a-host", "And back to work")
    wait_for(ground, workflow)


def test_the_database_is_restored(ground: Composed) -> None:
    """What was in the backup is there, what came later is not, and what comes now is done."""
    kept = done(ground, "in-the-backup")
    try:
        page(ground, "restore-the-database", "Back up, in containers")
        lost = done(ground, "behind-the-backup")

        page(ground, "restore-the-database", "Restore, in containers")
    finally:
        _BACKUP.unlink(missing_ok=True)

    done(ground, "behind-the-restore")
    found = f"SELECT id::text FROM workflow WHERE id IN ('{kept}', '{lost}')"
    assert ground.rows(found) == [(kept,)]
    late = (
        "SELECT 1 FROM workflow WHERE state = 'accepted' AND accepted_at < now() - interval '30 s'"
    )
    wait_until(lambda: ground.rows(late) == [], _WELL_SECONDS, "what it had to end")


def test_a_release_is_deployed_and_rolled_back(
    stack: Stack, own_names: Composed, ground: Composed
) -> None:
    """Each has an image of its own, and the way back leads to the one that ran."""
    before = images(stack, "gateway")
    own_names.run(f"docker tag {before.copy().pop()} doorbell:before")
    page(own_names, "deploy", "In containers", **{_COMMIT: "after"})
    done(ground, "with-the-new-release")
    after = images(stack, "gateway")
    assert after != before

    page(own_names, "roll-back", "Which one", **{_COMMIT: "before"})

    assert images(stack, "gateway") == before
    done(ground, "with-the-old-release")
    page(own_names, "deploy", "Verify")


def test_a_broker_is_lost_with_its_data(ground: Composed) -> None:
    """Upgraded first, which is a start with the image that is there; then built anew, and filled by the ledger."""
    page(ground, "brokers", "In containers")
    waits = done(ground, "before-the-loss")

    page(ground, "brokers", "A broker's volume is lost, in containers")

    wait_for(ground, waits)
    done(ground, "behind-the-loss")

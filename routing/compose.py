"""What docker-compose.yml has for each pool and each user of the broker."""

from __future__ import annotations

from collections.abc import Iterator

from routing.permissions import permissions
from routing.topology import Pool, Topology
from services.domain.errors import ConfigurationError

_MARGIN_SECONDS = 5
"""The engine kills a container so long after its worker would have ended itself."""


def spliced(text: str, topology: Topology) -> str:
    """Return a compose file with what stands between its markers as it is for this topology.

    Raises:
        ConfigurationError: a marker is missing.
    """
    text = _between(text, "workers", "\n".join(map(_service, topology.pools.values())))
    return _between(text, "broker users", "".join(_secrets(topology)))


def _service(pool: Pool) -> str:
    environment = _environment(pool)
    secrets = [f"{{source: broker_url_{pool.name}, target: broker_url}}", "database_url"]
    return (
        f"  worker-{pool.name}:\n"
        "    <<: *worker\n"
        f"    command: [worker, {pool.name}]\n"
        f'    scale: "${{{pool.name.upper()}_PROCESSES:-1}}"\n'
        f"    stop_grace_period: {pool.grace_seconds + _MARGIN_SECONDS}s\n"
        f"{environment}"
        f"    secrets: [{', '.join([*secrets, *pool.secrets])}]\n"
    )


def _environment(pool: Pool) -> str:
    if not pool.secrets:
        return ""
    # A pool that sends mails is told by a secret where; to others the address is no more than a setting.
    common = "*calling" if "smtp_url" in pool.secrets else "*worker-environment"
    files = "".join(f", DOORBELL_{it.upper()}_FILE: /run/secrets/{it}" for it in pool.secrets)
    return f"    environment: {{<<: {common}{files}}}\n"


def _secrets(topology: Topology) -> Iterator[str]:
    for user in (it["name"] for it in permissions(topology)["users"]):
        file = f"${{SECRETS_DIRECTORY:-./deploy/docker/private}}/broker_url/{user}"
        yield f'  broker_url_{user}: {{file: "{file}"}}\n'


def _between(text: str, what: str, wanted: str) -> str:
    begin, end = (f"  # topology:{word} {what}\n" for word in ("begin", "end"))
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise ConfigurationError(
            f"docker-compose.yml: the lines `{begin.strip()}` and `{end.strip()}` are not there:"
            " put them back around what is written for the topology"
        )
    return f"{before}{begin}{wanted}{end}{after}"

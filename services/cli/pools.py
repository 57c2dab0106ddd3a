"""`doorbell pool`: the processes of the pools, and keeping messages from some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Annotated, Any

import typer

from services.cli.audit import actor
from services.cli.desk import Desk, opened
from services.cli.exits import OK, REFUSED, NotFound
from services.cli.output import AsJson, print_json, print_table
from services.cli.remote import Process, Remote
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.ledger import drains
from services.ledger.drains import Drain, Scope

app = typer.Typer(help="The processes of the pools.", no_args_is_help=True)

NOBODY = "nobody"

_POLL_SECONDS = 0.5
_RESUME_SECONDS = 15.0
_NOTICE_SECONDS = 2.0
"""In which the broker has noticed a last ack."""

PoolName = Annotated[
    str | None,
    typer.Argument(help="The pool's name; every pool of a host without it.", metavar="[POOL]"),
]
Host = Annotated[str | None, typer.Option(help="Only its processes on this host.")]
Number = Annotated[
    int | None, typer.Option("--process", min=1, help="Only the process of this number there.")
]
IsThere = Callable[[Process], bool]


@app.command("list")
def list_processes(
    pool: Annotated[str | None, typer.Argument(help="Only this pool's.", metavar="[POOL]")] = None,
    as_json: AsJson = False,
) -> None:
    """List the processes: what they are at, and by whom they are drained.

    STILL FOR: nothing of what is in flight was done for so long. `silent` is what
    consumes and does not answer (it stands still, waits for PostgreSQL, or is
    older than this command), or what is drained and not there. `nobody`: the pool
    has no process that takes messages, and nobody has drained it; exit code 1.
    """
    with _at_work() as (desk, remote):
        pools = list(desk.topology.pools) if pool is None else [desk.topology.pool(pool).name]
        answered = remote.processes()
        open_drains = drains.open_drains(desk.connection)
        rows = [
            row
            for name in pools
            for row in _rows(
                [each for each in answered if each.pool == name],
                [each for each in open_drains if each.pool == name],
                _silent(desk, remote, name, answered),
                name,
            )
        ]
    if as_json:
        print_json(rows)
    else:
        _print(rows)
    if any(row["state"] == NOBODY for row in rows):
        raise typer.Exit(REFUSED)


@app.command("drain")
def drain(
    pool: PoolName = None,
    host: Host = None,
    process: Number = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds to wait until they are empty.", show_default="the pool's grace"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let processes take no new messages and finish what they have, until `resume`.

    Messages stay in their queue, for other processes of the pool or for later.
    It lasts over restarts and reconnections. Exit code 1: something is left.
    With --host and no pool it is every pool that has a process there. A whole pool
    can be drained while none of its processes is there, or the broker is away.
    """
    with _at_work() as (desk, remote):
        scopes = _scopes(desk, remote, pool, host, process)
        grace = max(desk.topology.pool(scope.pool).grace_seconds for scope in scopes)
        is_whole = pool is not None and scopes == [Scope(pool)]
        nodes = [] if is_whole else [node for scope in scopes for node in _named(remote, scope)]
        for scope in scopes:
            drains.drain(desk.connection, scope, actor())
        desk.connection.commit()
        with _kept(scopes, "drained"):
            if is_whole:
                nodes = _matching(remote, scopes[0])
            for scope in scopes:
                remote.have_drain_read(scope.pool)
            left = _wait(remote, nodes, _is_empty, grace if wait is None else wait)
            if not left and is_whole:
                left = _others(desk, remote, scopes[0].pool)
    _say(scopes, "drained and empty", nodes, left, as_json)


@app.command("resume")
def resume(
    pool: PoolName = None, host: Host = None, process: Number = None, as_json: AsJson = False
) -> None:
    """Let processes take messages again. What was not drained stays as it is."""
    with _at_work() as (desk, remote):
        scopes = _scopes(desk, remote, pool, host, process)
        for scope in scopes:
            _refuse_wider(desk, scope)
        ended = [drains.resume(desk.connection, scope, actor()) for scope in scopes]
        desk.connection.commit()
        with _kept(scopes, "resumed"):
            nodes: list[str] = []
            for scope, count in zip(scopes, ended, strict=True):
                # Where somebody was drained, nobody need be there at this moment.
                nodes += _matching(remote, scope) if count else _named(remote, scope)
            for scope in scopes:
                remote.have_drain_read(scope.pool)
            left = _wait(remote, nodes, lambda each: each.state == "consuming", _RESUME_SECONDS)
    _say(scopes, "taking messages", nodes, left, as_json)


@contextmanager
def _at_work() -> Iterator[tuple[Desk, Remote]]:
    with opened() as desk:
        remote = Remote(desk.app)
        try:
            yield desk, remote
        finally:
            remote.close()


@contextmanager
def _kept(scopes: Sequence[Scope], what: str) -> Iterator[None]:
    """Without a broker the processes cannot be asked; what is to be stands in the ledger all the same."""
    try:
        yield
    except Unavailable as error:
        names = ", ".join(map(str, scopes))
        raise Unavailable(
            f"{names}: {what} in the ledger, which processes read when they reach the broker; {error}"
        ) from error


def _scopes(
    desk: Desk, remote: Remote, pool: str | None, host: str | None, process: int | None
) -> list[Scope]:
    """What is meant: processes of one pool, or all pools that have, or are drained, on a host."""
    if pool is not None:
        return [Scope(desk.topology.pool(pool).name, host, process)]
    if host is None or process is not None:
        raise ConfigurationError("POOL: name a pool, or every pool of a host by --host alone")
    there = {each.pool for each in remote.processes() if each.host == host}
    drained = {each.pool for each in drains.open_drains(desk.connection) if each.host == host}
    if not there | drained:
        raise NotFound(f"no process on {host} answers, and none is drained there: pool list")
    return [Scope(name, host) for name in desk.topology.pools if name in there | drained]


def _is_empty(process: Process) -> bool:
    return process.state == "draining" and not process.in_flight


def _matching(remote: Remote, scope: Scope) -> list[str]:
    return [
        each.node
        for each in remote.processes()
        if each.pool == scope.pool and scope.covers(each.host, each.process)
    ]


def _named(remote: Remote, scope: Scope) -> list[str]:
    nodes = _matching(remote, scope)
    if not nodes:
        others = [str(Scope(p.pool, p.host, p.process)) for p in remote.processes()]
        there = [name for name in others if name.startswith(f"{scope.pool} ")]
        raise NotFound(
            f"no process of {scope} answers; those that do: {', '.join(there) or 'none'}"
        )
    return nodes


def _refuse_wider(desk: Desk, scope: Scope) -> None:
    for each in drains.open_drains(desk.connection):
        if scope.meets(each.scope) and not scope.covers(each.host, each.process):
            raise Refused(
                f"{each.scope} is drained, by {each.drained_by}, which is more than {scope}:"
                " resume that, and drain again what is to stay"
            )


def _wait(remote: Remote, nodes: Sequence[str], is_there: IsThere, seconds: float) -> list[str]:
    """What is left after so many seconds, in words; as soon as nothing is, that."""
    deadline = monotonic() + seconds
    while True:
        answered = {each.node: each for each in remote.processes(nodes)}
        left = [
            f"{node} is {answered[node].state}, {answered[node].in_flight} in flight"
            if node in answered
            else f"{node} does not answer"
            for node in nodes
            if node not in answered or not is_there(answered[node])
        ]
        if not left or monotonic() >= deadline:
            return left
        sleep(_POLL_SECONDS)


def _silent(desk: Desk, remote: Remote, pool: str, answered: Sequence[Process]) -> int:
    """Processes that consume, as the broker knows, and did not answer."""
    # A quorum queue counts a consumer until it has acked its last message, though it takes no more.
    heard = sum(
        each.pool == pool and (each.state == "consuming" or each.in_flight > 0) for each in answered
    )
    counts = [remote.consumers(queue) for queue in desk.topology.queues_of(pool)]
    return max(0, max(counts, default=0) - heard)


def _others(desk: Desk, remote: Remote, pool: str) -> list[str]:
    """Who still takes messages of a drained pool, and is none of those that answered."""
    deadline = monotonic() + _NOTICE_SECONDS
    while silent := _silent(desk, remote, pool, []):
        if monotonic() >= deadline:
            return [f"{silent} more of {pool} took messages last and do not answer"]
        sleep(_POLL_SECONDS)
    return []


def _rows(
    answered: Sequence[Process], open_drains: Sequence[Drain], silent: int, pool: str
) -> Iterator[dict[str, Any]]:
    missed = list(open_drains)
    for each in answered:
        of_it = [one for one in open_drains if one.scope.covers(each.host, each.process)]
        missed = [one for one in missed if one not in of_it]
        yield _row(
            pool,
            each.host,
            each.process,
            each.state,
            each.in_flight,
            each.still_seconds,
            each.uptime_seconds,
            *of_it,
        )
    for one in missed:
        yield _row(pool, one.host, one.process, "silent", None, None, None, one)
    for _ in range(silent):
        yield _row(pool, None, None, "silent", None, None, None)
    if not (answered or open_drains or silent):
        yield _row(pool, None, None, NOBODY, None, None, None)


def _row(
    pool: str,
    host: str | None,
    process: int | None,
    state: str,
    in_flight: int | None,
    still_seconds: int | None,
    uptime_seconds: int | None,
    *drained: Drain,
) -> dict[str, Any]:
    return {
        "pool": pool,
        "host": host,
        "process": process,
        "state": state,
        "in_flight": in_flight,
        "still_seconds": still_seconds,
        "uptime_seconds": uptime_seconds,
        "drained_by": drained[0].drained_by if drained else None,
        "drained_at": drained[0].drained_at if drained else None,
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        ("POOL", "HOST", "PROCESS", "STATE", "IN FLIGHT", "STILL FOR", "UP", "DRAINED"),
        [
            (
                row["pool"],
                row["host"],
                row["process"],
                row["state"],
                row["in_flight"],
                row["still_seconds"] and f"{row['still_seconds']:,} s",
                None if row["uptime_seconds"] is None else f"{row['uptime_seconds']:,} s",
                row["drained_by"] and f"by {row['drained_by']}, {row['drained_at']:%F %T %Z}",
            )
            for row in rows
        ],
    )


def _say(
    scopes: Sequence[Scope], what: str, nodes: Sequence[str], left: Sequence[str], as_json: bool
) -> None:
    """Print how it went, and end with the exit code that says so."""
    scope = ", ".join(map(str, scopes))
    if as_json:
        print_json({"scope": scope, "processes": list(nodes), "left": list(left)})
    elif not nodes:
        typer.echo(f"{scope}: nobody answers now; who comes back finds it in the ledger")
    elif not left:
        typer.echo(f"{scope}: {len(nodes)} {what}")
    for line in [] if as_json else left:
        typer.echo(line, err=True)
    raise typer.Exit(REFUSED if left else OK)

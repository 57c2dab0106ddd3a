"""`python -m tests.chaos`: runs scenarios in turn on a private cluster and prints what the oracle found."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.execution import execute
from tests.chaos.rig import Rig, running_rig
from tests.chaos.scenario import Scenario, load_scenarios
from tests.chaos.table import Result, as_markdown, head_line, line


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is well; 1 when something was lost, doubled, left open or slow; 2 for a wrong option."""
    scenarios = load_scenarios()
    options = _parser().parse_args(arguments)
    if options.list:
        for scenario in scenarios.values():
            print(f"{scenario.name:<28}{(scenario.disturb.__doc__ or '').splitlines()[0]}")
        return 0
    names = options.scenario or list(scenarios)
    if unknown := [name for name in names if name not in scenarios]:
        print(f"no such scenario: {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    results: list[Result] = []
    print(head_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="doorbell-chaos-") as directory, ExitStack() as stack:
        shared = _Shared(Path(directory), stack)
        for seed in options.seed or [1]:
            for name in names:
                results.append(_run(shared, scenarios[name], seed, options))
                if options.table:
                    options.table.write_text(as_markdown(results))
    return 0 if all(result.is_well for result in results) else 1


def _run(shared: _Shared, scenario: Scenario, seed: int, options: argparse.Namespace) -> Result:
    with shared.rig_for(scenario) as rig:
        began = time.monotonic()
        findings = execute(rig, scenario, seed, options.logins, options.rate)
        result = Result(scenario.name, seed, findings, time.monotonic() - began)
        print(line(result), flush=True)
        if not result.is_well:
            print(findings.explain(), file=sys.stderr, flush=True)
            if options.logs:
                rig.keep_logs(options.logs / f"{scenario.name}-{seed}")
        return result


class _Shared:
    """One rig for all scenarios that need none of their own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._rig: Rig | None = None
        self._count = 0

    @contextmanager
    def rig_for(self, scenario: Scenario) -> Iterator[Rig]:
        """A calm rig."""
        if scenario.plan is not None:
            with running_rig(self._new_directory(), scenario.plan) as own:
                yield own
            return
        if self._rig is None:
            self._rig = self._stack.enter_context(running_rig(self._new_directory()))
        self._rig.calm()
        yield self._rig

    def _new_directory(self) -> Path:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return directory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="name the scenarios")
    add("--scenario", nargs="+", metavar="NAME", help="which to run; all of them otherwise")
    add("--seed", nargs="+", type=int, metavar="N", help="run each with these seeds (default: 1)")
    add("--logins", type=_positive, default=200, metavar="N", help="logins of each run")
    add("--rate", type=_positive, metavar="R", help="logins a second, where not the scenario's own")
    add("--table", type=Path, metavar="FILE.md", help="write the table there after each run")
    add("--logs", type=Path, metavar="DIR", help="keep the processes' logs of runs that fail")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

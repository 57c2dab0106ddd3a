"""`python -m tests.bench.outlier`: what the reference outlier API answers under load, alone with its load generator."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from services.outlier.contract import BATCH_LIMIT
from tests.bench import outlier_report as report
from tests.bench.command import end_on_sigterm, numbers, positive, say
from tests.bench.cpu import resident_bytes
from tests.bench.outlier_load import Load
from tests.bench.outlier_people import People
from tests.bench.outlier_questions import Question, WrongAnswer, forget, score, score_batch
from tests.bench.outlier_result import API, Result, Series
from tests.support.outlier_process import Api, serving

_SEED = 7
_LEAST_LEARNED = 1000
"""With fewer there is hardly anybody to forget."""

_LOG_SHOWN = 4000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 when anything but a 200 that keeps the contract came back."""
    options = _parsed(arguments)
    end_on_sigterm()
    result = Result(os.cpu_count() or 1, os.getloadavg()[0])
    try:
        _measure(result, options)
    except WrongAnswer as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; what was started has been ended")
        return 130
    print(report.as_text(result))
    if options.json:
        options.json.write_text(report.as_json(result) + "\n")
    return 0


def _measure(result: Result, options: argparse.Namespace) -> None:
    with TemporaryDirectory(prefix="doorbell-outlier-") as directory:
        database = Path(directory) / "outlier.sqlite"
        with _serving(database) as api:
            _go_through(result, Load(api), options)
            result.memory = resident_bytes({API: api.process.pid})[API]
        result.storage = sum(
            file.stat().st_size for file in database.parent.glob("outlier.sqlite*")
        )


@contextmanager
def _serving(database: Path) -> Iterator[Api]:
    """The API; what it says is shown when it answers wrongly."""
    path = database.with_name("log")
    with path.open("wb") as log:
        try:
            with serving(database, log=log) as api:
                yield api
        except WrongAnswer:
            say(path.read_text(errors="replace")[-_LOG_SHOWN:])
            raise


def _go_through(result: Result, load: Load, options: argparse.Namespace) -> None:
    people = People(_SEED)
    for size in sorted({*options.sizes, options.learned}):
        _learn(load, people, size)
        if size in options.sizes:
            result.by_history.append(Series("score", 1, 1))
            load.run((result.by_history[-1], [islice(_scores(people), options.asked)]))
        for number in range(options.rounds if size == options.learned else 0):
            say(f"round {number + 1} of {options.rounds}")
            _round(result, load, people, options.seconds)
    result.history = load.history


def _learn(load: Load, people: People, size: int) -> None:
    if load.history < size:
        say(f"learning, until the history has {size:,} logins")
    while load.history < size:  # denied logins are not learned
        number = size - load.history
        batches = (
            score_batch(people.take(min(BATCH_LIMIT, number - start)))
            for start in range(0, number, BATCH_LIMIT)
        )
        load.run((Series("score:batch", 1, BATCH_LIMIT), [batches]))


def _round(result: Result, load: Load, people: People, seconds: float) -> None:
    for series in result.singles:
        load.run((series, _clients(people, series)), seconds=seconds)
    for series in result.batches:
        load.run((series, [_batches(people, series.logins)]), seconds=seconds)
    load.run(
        (result.meanwhile, _clients(people, result.meanwhile)),
        (result.forgets, [map(forget, people.leaving())]),
        seconds=seconds,
    )


def _clients(people: People, series: Series) -> list[Iterator[Question]]:
    return [_scores(people) for _ in range(series.at_once)]


def _scores(people: People) -> Iterator[Question]:
    return map(score, people.returning())


def _batches(people: People, size: int) -> Iterator[Question]:
    logins = people.returning()
    while True:
        yield score_batch([*islice(logins, size)])


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outlier", description=__doc__)
    add = parser.add_argument
    add("--learned", type=positive, default=20_000, help="logins of the history under load")
    add("--rounds", type=positive, default=2, help="runs of each kind of request, by turns")
    add("--seconds", type=positive, default=2, help="seconds of each run")
    add(
        "--sizes",
        type=numbers,
        default=[0, 20_000],
        metavar="N,...",
        help="logins of the history at which single scores are measured too",
    )
    add("--asked", type=positive, default=600, help="single scores at each of them")
    add("--json", type=Path, metavar="FILE", help="write the numbers")
    options = parser.parse_args(arguments)
    if options.learned < _LEAST_LEARNED:
        parser.error(f"--learned must be at least {_LEAST_LEARNED}")
    return options


if __name__ == "__main__":
    sys.exit(main())

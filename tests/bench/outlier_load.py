"""Loads the outlier API with questions of several clients at once, and measures what they took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from threading import Event
from time import monotonic

from tests.bench.cpu import Meter
from tests.bench.outlier_questions import Connection, Question
from tests.bench.outlier_result import API, Run, Series
from tests.bench.own import own_pids
from tests.support.outlier_process import Api


class Load:
    """The clients of one running API.

    Attributes:
        history: logins that the API knows, by its own answers.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self.history = 0

    def run(
        self, *asking: tuple[Series, Sequence[Iterator[Question]]], seconds: float = float("inf")
    ) -> None:
        """Give each series a run of its clients, each of which asks its questions one after another, all at once.

        It ends after `seconds`, or when one of the clients has no question left.

        Raises:
            WrongAnswer: one was answered wrongly; the others were ended.
        """
        with ExitStack() as stack:
            groups = [[self._connect(stack) for _ in clients] for _, clients in asking]
            meter = Meter({API: self._api.process.pid} | own_pids())
            clients = [client for _, clients in asking for client in clients]
            _ask_all([*zip(chain(*groups), clients, strict=True)], monotonic() + seconds)
            cpu = meter.read()
        for (series, _), group in zip(asking, groups, strict=True):
            series.history = series.history if series.runs else self.history
            answers = [each for connection in group for each in connection.seconds]
            series.runs.append(Run(answers, cpu))
        self.history += sum(connection.learned for connection in chain(*groups))

    def _connect(self, stack: ExitStack) -> Connection:
        connection = stack.enter_context(closing(Connection(self._api.port)))
        connection.greet()
        return connection


def _ask_all(pairs: Sequence[tuple[Connection, Iterator[Question]]], deadline: float) -> None:
    is_over = Event()

    def ask(connection: Connection, questions: Iterator[Question]) -> None:
        try:
            for question in questions:
                if is_over.is_set() or monotonic() > deadline:
                    return
                connection.ask(question)
        finally:
            is_over.set()

    with ThreadPoolExecutor(len(pairs)) as threads:
        try:
            for ended in [threads.submit(ask, *pair) for pair in pairs]:
                ended.result()
        finally:
            # Also after an interruption, which comes to this thread alone.
            is_over.set()

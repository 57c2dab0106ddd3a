"""Celery's AsyncResult, which finds its parent by its id alone."""

from __future__ import annotations

import sys
from typing import Any

import celery.canvas
from celery.result import AsyncResult

from services.ledger.unit import active_unit


def _is_asked_by_canvas() -> bool:
    """Whether Celery puts a canvas together: nothing of that is in the ledger, which sending must not need."""
    return sys._getframe(2).f_globals.get("__name__") == celery.canvas.__name__


class LedgerResult(AsyncResult[Any]):
    """A step's result; `parent` and `children` walk the canvas up and down from any id.

    `parent` is what the result was made with, as where a chain was sent; else it is the step that has sent this one,
    for a chord's body the leaf that completed the header, and None inside a step, where results are only
    handed on. What is sent on, waited for or forgotten are the parents that it was made with, as in Celery.
    """

    _made_with: Any = None
    _below: frozenset[str] = frozenset()

    @property
    def parent(self) -> Any:
        if self._made_with is not None or active_unit() is not None or _is_asked_by_canvas():
            return self._made_with
        parent_id = self._read().get("parent_id")
        # What has replaced a step is the child of that, and leads to it.
        if parent_id is None or parent_id == self.id or parent_id in self._below:
            return None
        found: Any = self.app.AsyncResult(parent_id)
        found._below = self._below | {self.id}
        return found

    @parent.setter
    def parent(self, result: Any) -> None:
        self._made_with = result

    def _read(self) -> dict[str, Any]:
        read: Any = super()
        found: dict[str, Any] = read._get_task_meta()
        return found

    def as_tuple(self) -> Any:
        parent = self._made_with
        return (self.id, parent and parent.as_tuple()), None

    def as_list(self) -> list[Any]:
        parent = self._made_with
        return [self.id, *(parent.as_list() if parent is not None else ())]

    def forget(self) -> None:
        """Forget the result of this step, and of the parents that it was made with."""
        self._cache = None
        backend: Any = self.backend
        if self._made_with is not None:
            self._made_with.forget()
        backend.remove_pending_result(self)
        backend.forget(self.id)

    def _parents(self) -> Any:
        node = self._made_with
        while node:
            yield node
            node = node._made_with if isinstance(node, LedgerResult) else node.parent

    def __copy__(self) -> Any:
        return self.__class__(self.id, self.backend, None, self.app, self._made_with)

    def __reduce_args__(self) -> Any:
        return self.id, self.backend, None, None, self._made_with

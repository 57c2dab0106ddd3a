"""Celery's consumer without the step that declares the delay topology: the definitions did that."""

from __future__ import annotations

from typing import ClassVar

from celery.worker.consumer.consumer import Consumer


class StepConsumer(Consumer):
    """A consumer whose broker user needs no permission to declare or bind."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]  # a class attribute of Celery's
        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

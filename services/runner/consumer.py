"""Celery's consumer without the step that declares the delay topology: the definitions did that."""

from __future__ import annotations

from celery.worker.consumer.consumer import Consumer


class StepConsumer(Consumer):  # type: ignore[misc]  # Celery ships no types
    """A consumer whose broker user needs no permission to declare or bind."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # Celery ships no types
        default_steps = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

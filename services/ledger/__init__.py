"""Workflows and steps: the tables that know everything accepted, which are also Celery's result backend."""

"""The runner under Celery's worker."""

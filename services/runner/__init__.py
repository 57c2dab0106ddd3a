"""Runs steps on Celery's worker: commit, then publish, then ack."""

"""Celery's edge: every task of every pool, each a line or two around its handler."""

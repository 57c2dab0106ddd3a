"""How steps combine: what follows what is written only here, in Celery's own primitives."""

"""Pools as operators see them."""

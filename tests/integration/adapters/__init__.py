"""Adapters on what they are for."""

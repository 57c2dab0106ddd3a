"""Sample logins: histories synthesized from real user agents and real networks."""

from deploy.local.samples.load import load

__all__ = ["load"]

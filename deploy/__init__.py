"""How Doorbell runs."""

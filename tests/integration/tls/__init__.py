"""Everything by TLS."""

"""The `doorbell` command."""

"""The `doorbell` command: for people who run the system, and for their scripts."""

"""What Doorbell is about, in the standard library alone."""

"""The topology on a real broker."""

"""The main workflow from end to end."""

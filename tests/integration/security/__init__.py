"""What strangers cannot do, and what nobody is to learn."""

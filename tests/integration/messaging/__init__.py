"""What messages go through on their way."""

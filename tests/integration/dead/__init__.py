"""What was given up, and how it is brought back."""

"""What is measured, shown, told."""

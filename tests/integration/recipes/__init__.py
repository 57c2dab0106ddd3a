"""CONTRIBUTING's recipes, followed to the letter."""

"""Immutable values that the stages hand to each other. No behaviour beyond what a value knows of itself."""

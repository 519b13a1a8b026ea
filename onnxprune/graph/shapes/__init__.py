"""Shapes of every tensor, symbolic sizes included."""

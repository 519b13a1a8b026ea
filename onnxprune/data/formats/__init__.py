"""Formats of sample data, one file each."""

"""Sections of the report on a pruned model, one file each."""

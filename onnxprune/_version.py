"""The version, which everything may read."""

__version__ = "0.1.0"

RESULT_FORMAT = 1
"""Of results as JSON; it grows where a name goes or changes its meaning (report/schemas.py)."""

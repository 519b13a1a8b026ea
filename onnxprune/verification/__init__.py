"""Deciding whether a cut model holds its promises. Compares and decides; never mends."""

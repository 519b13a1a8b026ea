"""Ways to recover a cut, one file each."""

"""Ways to share out a budget over the groups, one file each."""

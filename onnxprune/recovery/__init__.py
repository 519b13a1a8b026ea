"""Giving back in closed form what a cut took: no training, no labels, no gradients."""

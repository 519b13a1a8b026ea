"""Layers as linear systems: what a weight is multiplied with, where its error shows, and running a net piece by piece.

What calibration (moments of inputs) and recovery (solving for weights) have in common.
"""

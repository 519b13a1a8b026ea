"""Torch on one thread: the nets here are small, and test processes run side by side."""

import importlib.util

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)

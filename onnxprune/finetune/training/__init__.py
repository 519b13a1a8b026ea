"""Training a `GraphModule`: data, losses, schedules, the loop, checkpoints, several processes."""

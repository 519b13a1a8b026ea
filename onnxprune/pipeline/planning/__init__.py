"""From a goal to a plan: scores, widths, steps, search."""

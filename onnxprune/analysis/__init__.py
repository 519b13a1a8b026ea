"""Reading a graph: which channels live or die together, what is frozen and why, what every channel costs."""

"""Op rules, one file per family: what each op says of the channels of the tensors around it.

A rule reads one node and yields facts (see `facts`): which positions live or die together, which axis is summed over,
which numbers carry a size, what the layer costs. Rules never walk the graph and never write. An axis that a rule does
not speak of cannot be cut: the analysis freezes it, with the node as the reason.
"""

"""Writing graphs: the cut, and the mask that every cut is checked against.

`edits` says what a cut changes, as a value; `rewrite` applies it to a copy of the model; `mask` builds the oracle and
shares nothing with the two but the keep masks, so that one mistake cannot hide in both.
"""

"""From scores to keep masks: how many channels every group keeps, within budgets, floors and rounding. numpy alone."""

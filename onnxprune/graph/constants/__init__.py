"""Values that are known before the model runs."""

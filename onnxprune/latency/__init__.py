"""How long a network takes: timing it, tables by layer, and the model that predicts from them."""

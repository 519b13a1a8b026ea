"""The stages in order. `stages` holds them one by one, as the typed API; `prune` runs them all."""

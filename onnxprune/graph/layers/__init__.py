"""What a layer's weight looks like, by op."""

"""Two runs side by side: which cells pair, what differs around them, what changed, and whether that is too much."""

"""Statistics of paired repeats, on scipy."""

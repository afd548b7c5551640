"""Run folders joined into one: what they plan, what they measured, and where they contradict each other."""

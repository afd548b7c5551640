"""What is timed or weighed: a layer, a model's step, its memory, ranks that wait for each other.

A module per measure, each with ``measure(settings)``; and what they share: the gate before every speed, modes, the
limit, and the conditions under which a time was taken.
"""

"""How a plan is carried out: the run folder, worker processes, and who measures which cell."""

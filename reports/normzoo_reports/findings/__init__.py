"""What a run says: verdicts, readings, tuning, costs; plain data that pages and terminals show."""

"""Looking at published sets of traces. Each view is plain data first, text second."""

"""Looking at a published dataset: what was kept, what was not, and why. Each view is plain data first, text second."""

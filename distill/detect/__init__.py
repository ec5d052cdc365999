"""What disqualifies a trace: one kind a file, each a function of texts."""

"""Which problems RL trains on next."""

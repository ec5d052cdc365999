"""Rewards of RL: one a file, their weighted sum, and what shows that they are being gamed."""

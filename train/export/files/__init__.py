"""Files that an export copies as they are, a reward for each trainer: nothing of a dataset is ever written into code."""

"""Which problems stay, and why: measuring problems, deciding by rules, publishing. Imports no other folder."""

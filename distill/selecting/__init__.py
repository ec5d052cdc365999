"""What `select` asks for: its settings, budgets in rows, and how far apart traces are."""

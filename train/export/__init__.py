"""A published dataset handed over to other trainers: rows in their form, a reward file, a command that starts them."""

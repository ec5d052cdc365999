"""What `balance` asks for, in rows: targets, quotas, allocation."""

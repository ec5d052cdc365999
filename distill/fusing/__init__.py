"""How a fusion set is put together: what a recipe says of it, its shares, its conversations, its flags in text."""

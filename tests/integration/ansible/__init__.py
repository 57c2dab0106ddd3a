"""The hosts' roles, as far as they go without hosts."""

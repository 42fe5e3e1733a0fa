"""Live co-editing."""

"""Providers: which there are, the way to them, keys."""

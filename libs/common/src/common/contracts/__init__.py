"""Frozen event classes, one module per producing service; additive change only."""

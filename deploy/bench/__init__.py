"""Benchmarks: they print ratios and the machine; they are not timed tests."""

"""The parts of `make demo`: what is imported, what is done with it, what is remembered for the next run."""

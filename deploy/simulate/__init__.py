"""Seeded histories of devices and the server's own decisions, without I/O, clocks or chance (`make simulate`)."""

"""Documents, bodies and versions."""

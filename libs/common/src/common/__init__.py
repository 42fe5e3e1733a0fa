"""Mechanism shared by the six services; it knows no business rule and no service."""

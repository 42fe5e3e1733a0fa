"""Test support shipped with the mechanism it tests; never imported by a service."""

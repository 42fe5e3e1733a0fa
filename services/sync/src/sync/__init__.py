"""Devices, cursors and the change log."""

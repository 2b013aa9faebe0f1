"""Decide, completely."""

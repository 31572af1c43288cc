"""Hostile bytes for every reader of foreign ones: quick in the tests, long by `python -m`."""

"""Rows for people: cells, sorted tables, and how they are printed."""

"""Tests, and the doubles that several of them share."""

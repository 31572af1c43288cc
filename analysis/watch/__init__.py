"""A study that is under way, seen from its results directory alone, as a page on loopback."""

"""Choosing among configurations: constraints, objectives, Pareto fronts, and what to relax."""

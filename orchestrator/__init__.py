"""Runs an experiment: cells, servers, launchers, the environment and the store of results."""

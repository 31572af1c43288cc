"""Latency of one decode step of a mixture's expert MLP on this device, and what bounds it."""

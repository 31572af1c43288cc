"""The expert MLP of one decode step timed on this device, and what bounds it."""

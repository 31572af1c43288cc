"""A server that already runs: asked what it is, measured, never started or ended."""

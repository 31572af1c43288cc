"""Facts every other package shares: models, GPUs, links, units and the error tree."""

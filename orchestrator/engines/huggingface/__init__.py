"""transformers in servers of our own: token by token, and masked diffusion."""

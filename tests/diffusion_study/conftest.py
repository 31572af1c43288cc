"""Small seeded diffusion models, shared with the other tests of diffusion."""

from tests.seeded_diffusion import built, decoder, one_thread

__all__ = ["built", "decoder", "one_thread"]

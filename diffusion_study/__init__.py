"""Diffusion language models characterised: latency by steps, lengths and ways to run experts."""

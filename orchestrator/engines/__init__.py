"""What serves a model: vLLM, the simulated engine, or a server that already runs."""

"""What serves a model: one folder an engine, from vLLM to a server that already runs."""

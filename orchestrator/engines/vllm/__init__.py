"""vLLM: its command, its log, its checks."""

"""llama.cpp: its command, its server, its checks."""

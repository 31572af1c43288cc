"""The simulated engine in real time: an OpenAI-compatible streaming server without a GPU.

    python -m servers.simulated --model OLMoE-1B-7B --tensor-parallel-size 2 --port 8000

It takes vLLM's arguments, so it can stand where a vLLM server is started, and refuses what it does
not price (`arguments.py`).
"""

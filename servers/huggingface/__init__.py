"""An OpenAI-compatible server over models that transformers runs in this very process.

    python -m servers.huggingface DECODER --model NAME --port 8000

A decoder (`decoder.py`) turns prompts into tokens in a thread of its own (`worker.py`); everything
HTTP lies before it. torch and transformers are imported only when a decoder is loaded.
"""

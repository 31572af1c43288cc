"""The servers that this project writes: a simulated one, and one around transformers."""

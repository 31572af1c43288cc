"""The OpenAI-compatible HTTP surface that the servers of this project share."""

"""The wire: HTTP/1.1, server-sent events, OpenAI's replies."""

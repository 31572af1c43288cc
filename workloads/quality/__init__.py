"""How well a server predicts a text, over the OpenAI API: perplexity, agreement, divergence."""

"""How a foreign `config.json` is read: keys, layers, data types; nothing in silence."""

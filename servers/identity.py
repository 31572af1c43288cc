"""How the servers of this project say what they are."""

SIMULATED_OWNER = "moeserve-simulated"
"""What our simulated server calls itself in /v1/models: its numbers are never «measured»."""

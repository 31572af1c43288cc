"""What a layout should cost: the qs inequality, memory, collectives, step times, virtual time."""

"""What became of the jobs: their status, what they left, how they are cancelled."""

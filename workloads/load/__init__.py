"""What is sent and when: profiles, prompts, arrivals, dispatch."""

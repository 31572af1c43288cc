"""What is sent, when, and what is measured of it."""

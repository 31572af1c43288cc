"""What the numbers of one run are: latencies, goodput, steadiness, the server's own."""

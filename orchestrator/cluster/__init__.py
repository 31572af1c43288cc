"""Server groups on the nodes of a Ray cluster, several at once; nothing else imports Ray."""

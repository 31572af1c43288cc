"""Sockets and bytes: connections, pools, and the reader that stamps."""

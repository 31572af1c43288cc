"""One server measured: proved ready, loaded, watched."""

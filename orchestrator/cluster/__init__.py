"""Server groups on the nodes of a Ray cluster; nothing else in moeserve imports Ray."""

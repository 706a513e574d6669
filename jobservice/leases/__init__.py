"""A daemon's right to its jobs: the heartbeat, the watch over others', and the comparison of rows and memory."""

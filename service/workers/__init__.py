"""Several processes that answer on one port, and the one beside them that keeps what they answer from."""

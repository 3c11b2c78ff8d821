"""Several processes that answer on one port, and the keeper, which keeps the model for them."""

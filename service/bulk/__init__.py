"""Everyone's list: the recommendations of all users of a model, written to files."""

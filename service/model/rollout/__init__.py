"""A new model compared with the one that is served, before it takes its place."""

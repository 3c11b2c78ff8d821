"""Queries on a Model, and their score ranges and costs: arithmetic on arrays, no files."""

"""Keeping the served model current: one road from a changed file to a swapped reference."""

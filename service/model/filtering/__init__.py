"""Filters: which items a request may be answered with, from what the catalog says of them."""

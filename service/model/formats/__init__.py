"""Readers of model files that nobody vouches for; the format is recognized by content, never by a name's ending."""

"""Readers of model files that nobody vouches for, untrusted bytes → RawModel: one module or more for each format."""

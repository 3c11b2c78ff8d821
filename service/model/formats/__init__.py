"""Readers of untrusted model files, bytes → RawModel: one or more modules per format."""

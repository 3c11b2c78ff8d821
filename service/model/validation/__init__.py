"""The gates between an untrusted model and one that may serve, RawModel → Factors: NumPy alone, no files."""

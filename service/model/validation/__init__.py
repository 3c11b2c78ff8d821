"""The validation of untrusted models, RawModel → Factors: NumPy only, no files."""

"""Tables of text and Parquet: decompressed and decoded, with ids and times by one rule; never loaded by a server."""

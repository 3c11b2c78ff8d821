"""Models on disk: source files, and snapshots, which are directories of arrays mapped into memory."""

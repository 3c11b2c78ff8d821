"""Models on disk: the source file, and the directories of arrays that are made of it and mapped into memory."""

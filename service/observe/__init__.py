"""What a server says of itself: metrics and log events, each once, in a table. Nothing here decides anything."""

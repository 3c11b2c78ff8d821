"""What answers each route, one module for each thing that is asked about; ``lookups`` is what they have in common."""

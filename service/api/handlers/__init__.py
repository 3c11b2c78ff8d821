"""The handlers of the routes, one module per topic; ``lookups`` has what they share."""

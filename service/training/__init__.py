"""Training: from interactions to a model file. Serving never imports this package."""

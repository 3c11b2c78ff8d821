"""From interactions to a model file: reading, training, writing. Serving never imports it."""

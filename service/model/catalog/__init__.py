"""The catalog: what is known of items besides the model."""

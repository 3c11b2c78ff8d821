"""Models of Spark, converted once to a model file; only a confined child process imports this."""

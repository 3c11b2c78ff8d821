"""The live model: from a changed file to a swapped reference."""

"""What is computed of a Model for a query, and the range and cost of such answers: arithmetic on arrays, no files."""

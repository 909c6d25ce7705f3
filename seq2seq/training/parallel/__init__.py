"""Several processes that learn from one update."""

"""The Transformer: attention, positions, layers, the model and its plain decoder; ``fast/`` is the fast decoder."""

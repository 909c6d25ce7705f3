"""The Transformer: attention, positions, layers, the model; ``fast/`` is the same model arranged for decoding."""

"""Presets: sizes of the model, most of them from papers, with settings of training that suit them."""

from typing import Any

Layer = dict[str, Any]
"""A partial configuration: ``{"preset": …, "data": {…}, "model": {…}, …}``."""

SIZES = ("d_model", "d_ff", "n_heads", "encoder_layers", "decoder_layers")
"""Keys of ``model`` that define the size of a preset."""

# Each preset names only what differs from the defaults in tables.py.
PRESETS: dict[str, Layer] = {
    # Wu et al. 2021, "Good for Misconceived Reasons": a shape that suits small corpora.
    "tiny": {"model": {"d_model": 128, "d_ff": 256, "encoder_layers": 4, "decoder_layers": 4, "dropout": 0.3}},
    "small": {"model": {"d_model": 256, "d_ff": 1024, "encoder_layers": 3, "decoder_layers": 3, "dropout": 0.3}},
    # The usual shape for IWSLT'14 (160,000 pairs), such as fairseq's transformer_iwslt_de_en.
    "medium": {
        "data": {"vocab_size": 10_000},
        "model": {
            "d_model": 512,
            "d_ff": 1024,
            "n_heads": 4,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "dropout": 0.3,
        },
        "training": {"learning_rate": 5e-4, "warmup_updates": 4000},
    },
    # Vaswani et al. 2017, arXiv:1706.03762, table 3. The learning rate is the peak of section 5.3.
    "base": {
        "data": {"vocab_size": 32_000},
        "model": {"d_model": 512, "d_ff": 2048, "n_heads": 8, "encoder_layers": 6, "decoder_layers": 6},
        "training": {"batch_tokens": 25_000, "warmup_updates": 4000, "learning_rate": 7e-4},
    },
    "big": {
        "data": {"vocab_size": 32_000},
        "model": {
            "d_model": 1024,
            "d_ff": 4096,
            "n_heads": 16,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "dropout": 0.3,
        },
        "training": {"batch_tokens": 25_000, "warmup_updates": 4000, "learning_rate": 5e-4},
    },
    # Kasai et al. 2021, arXiv:2006.10369: the encoder runs once a sentence, the decoder once a token.
    "deep": {
        "data": {"vocab_size": 32_000},
        "model": {"d_model": 512, "d_ff": 2048, "n_heads": 8, "encoder_layers": 12, "decoder_layers": 1},
        "training": {"batch_tokens": 25_000, "warmup_updates": 4000, "learning_rate": 7e-4},
    },
}

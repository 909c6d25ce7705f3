"""Configuration of data, model, training and decoding: frozen dataclasses that pydantic checks.

This package does not import torch, because the help of the command line imports it.
"""

from seq2seq.config.aliases import choose_among, did_you_mean, keys_named
from seq2seq.config.keys import Key, described_keys, known_keys, table_meaning, toml_value
from seq2seq.config.layers import (
    build,
    check_keys,
    difference,
    known_layer,
    merge,
    parse_langs,
    parse_toml,
    parse_value,
    read_toml,
    to_toml,
)
from seq2seq.config.presets import PRESETS, SIZES, Layer
from seq2seq.config.tables import TABLES, DataConfig, DecodingConfig, ModelConfig, RunConfig, TrainingConfig

__all__ = [
    "PRESETS",
    "SIZES",
    "TABLES",
    "DataConfig",
    "DecodingConfig",
    "Key",
    "Layer",
    "ModelConfig",
    "RunConfig",
    "TrainingConfig",
    "build",
    "check_keys",
    "choose_among",
    "described_keys",
    "did_you_mean",
    "difference",
    "keys_named",
    "known_keys",
    "known_layer",
    "merge",
    "parse_langs",
    "parse_toml",
    "parse_value",
    "read_toml",
    "table_meaning",
    "to_toml",
    "toml_value",
]

"""Configuration of data, model, training and decoding: frozen dataclasses that pydantic checks.

This package does not import torch, because the help of the command line imports it.
"""

from seq2seq.config.aliases import choose_among, did_you_mean, keys_named
from seq2seq.config.keys import Key, described_keys, keys_of, known_keys, table_meaning, toml_value, values_by_key
from seq2seq.config.layers import (
    build,
    check_keys,
    difference,
    known_layer,
    layer_of,
    merge,
    parse_langs,
    parse_toml,
    parse_value,
    read_toml,
    refuse_unused_keys,
    to_toml,
    values_in,
)
from seq2seq.config.model import CnnConfig, ModelConfig, RnnConfig, is_used
from seq2seq.config.presets import PRESETS, SIZES, Layer
from seq2seq.config.tables import TABLES, DataConfig, DecodingConfig, RunConfig, TrainingConfig

__all__ = [
    "PRESETS",
    "SIZES",
    "TABLES",
    "CnnConfig",
    "DataConfig",
    "DecodingConfig",
    "Key",
    "Layer",
    "ModelConfig",
    "RnnConfig",
    "RunConfig",
    "TrainingConfig",
    "build",
    "check_keys",
    "choose_among",
    "described_keys",
    "did_you_mean",
    "difference",
    "is_used",
    "keys_named",
    "keys_of",
    "known_keys",
    "known_layer",
    "layer_of",
    "merge",
    "parse_langs",
    "parse_toml",
    "parse_value",
    "read_toml",
    "refuse_unused_keys",
    "table_meaning",
    "to_toml",
    "toml_value",
    "values_by_key",
    "values_in",
]

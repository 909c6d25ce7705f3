"""A signal during training: the last update is saved, also if no checkpoint was due."""

import json
from itertools import count

import pytest
from reversal import reversal_lines, write_reversal

from seq2seq.config import Layer
from seq2seq.errors import Interrupted
from seq2seq.runs import load_checkpoint
from seq2seq.training import Request, train


@pytest.mark.parametrize("n_calls", [4, 7])
def test_the_last_update_is_saved(tmp_path, n_calls):
    recipe: Layer = {
        "preset": "tiny",
        "data": {
            "langs": "ab-ba",
            "train": [write_reversal(tmp_path / "train", reversal_lines(60, seed=1))],
            "valid": [write_reversal(tmp_path / "valid", reversal_lines(5, seed=2))],
            "vocab_size": 300,
        },
        "model": {"d_model": 16, "d_ff": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "training": {"batch_tokens": 100, "max_updates": 20, "save_every": 1000, "valid_every": 20, "report_every": 1},
    }
    calls = count(1)
    with pytest.raises(Interrupted) as caught:
        list(train(Request(tmp_path / "run", [recipe], device="cpu"), lambda: 15 if next(calls) >= n_calls else None))
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])["update"]
    assert 0 < last < 20
    assert caught.value.saved
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.update == last

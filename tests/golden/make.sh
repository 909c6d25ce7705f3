#!/usr/bin/env bash
# Makes run/ and the expected translations again; needed only if the format changes:
#   bash tests/golden/make.sh
set -euo pipefail
cd "$(dirname "$0")"
seq2seq=${SEQ2SEQ:-../../.venv/bin/seq2seq}
rm -rf run
$seq2seq train -l num-en --train digits --valid digits-valid -o run --preset tiny --max-updates 1500 --seed 1 \
    --device cpu --set data.vocab_size=300 --set data.normalization=identity --set model.d_model=16 \
    --set model.d_ff=32 --set model.n_heads=2 --set model.encoder_layers=1 --set model.decoder_layers=1 \
    --set model.dropout=0.0 --set training.batch_tokens=500 --set training.learning_rate=0.01 \
    --set training.warmup_updates=50 --set training.label_smoothing=0.0 --set training.valid_every=500 \
    --set training.precision=fp32 --set training.products=mkl
rm run/.lock
$seq2seq translate run -b 1 -i input.num -o greedy.en
$seq2seq translate run -i input.num -o beam.en

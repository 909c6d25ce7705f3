"""The README of an exported folder: Python code that uses it, and differences from ``seq2seq translate``."""

from seq2seq.config import RunConfig, parse_langs
from seq2seq.errors import counted

_BATCH_TOKENS = 5120
"""Tokens of a batch with one beam, if the run does not set ``decoding.batch_tokens``."""
_PYTHON = """\
import sys

import ctranslate2
import sentencepiece

folder = "."  # this one
tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
translator = ctranslate2.Translator(folder)

lines = [line.rstrip("\\n") if line.strip() else "" for line in sys.stdin]
pieces = tokenizer.encode(lines, out_type=str)  # after normalising the text
results = translator.translate_batch(
    pieces,
    beam_size=BEAM_SIZE,
    length_penalty=LENGTH_PENALTY,
    max_decoding_length=MAX_LENGTH,
    min_decoding_length=0,
    max_batch_size=BATCH_TOKENS,
    batch_type="tokens",
)
for result in results:
    print(tokenizer.decode(result.hypotheses[0]))
"""


def readme(
    config: RunConfig, *, quantization: str, n_positions: int | None, max_src_length: int, max_src_sentences: int | None
) -> str:
    """The README in Markdown.

    Args:
        config: configuration of the run.
        quantization: data type of the weights.
        n_positions: number of rows of the position table; None if there is no table.
        max_src_length: longest source in training, in tokens, EOS included.
        max_src_sentences: max sentences of a source in training; None: unknown.
    """
    src, tgt = parse_langs(config.data.langs)
    decoding = config.decoding
    max_length = str(decoding.max_length) if decoding.max_length else "2 * max(map(len, pieces), default=0) + 50"
    if n_positions is not None:
        max_length = f"min({n_positions}, {max_length})"
    python = (
        _PYTHON.replace("BEAM_SIZE", str(decoding.beam_size))
        .replace("LENGTH_PENALTY", str(decoding.alpha))
        .replace("MAX_LENGTH", max_length)
        .replace("BATCH_TOKENS", str(decoding.batch_tokens or max(1, _BATCH_TOKENS // decoding.beam_size)))
    )
    pieces = counted(max_src_length - 1, "piece")
    sentences = "" if max_src_sentences is None else f" or {counted(max_src_sentences, 'sentence')}"
    text = f"""# {src} → {tgt}, for CTranslate2

Exported by seq2seq, with weights in {quantization}. `pip install ctranslate2 sentencepiece`, then:

```python
{python}```

Save this as `translate.py` in this folder and run `python translate.py < text.{src} > text.{tgt}`.

- Pass only the pieces: CTranslate2 adds the end-of-sentence symbol itself (`add_source_eos`). The translation of a line
  without pieces is blank.
- The settings above are those of the run. Scores are computed as in seq2seq: log-probability / length^α, where the
  length includes the end-of-sentence symbol.
- A translation never contains control symbols: unknown, start of sentence, padding, or language tags.
- Split lines of more than {pieces}{sentences}, as `seq2seq translate` does by itself: the model
  was not trained on longer ones. CTranslate2 ignores the tokens of a source after the first 1,024 (`max_input_length`).
- With several beams, CTranslate2 ends a search when there are as many finished hypotheses as beams (`patience`).
  seq2seq continues while an unfinished hypothesis is ten times likelier than all of them. This happens only if a model
  is very sure. Only then may translations differ.
"""
    if n_positions is not None:
        tokens = counted(n_positions, "token")
        text += f"- The model has positions for {tokens} a side; CTranslate2 raises an error for longer ones.\n"
    return text

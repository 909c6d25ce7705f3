"""The README of an exported folder: lines of Python that use it, and where it differs from ``seq2seq translate``."""

from seq2seq.config import RunConfig, parse_langs
from seq2seq.errors import counted

_BATCH_TOKENS = 5120
"""With one beam, if the run leaves them to the machine."""
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
    """The text, in Markdown.

    Args:
        config: of the run that was exported.
        quantization: how the weights are kept.
        n_positions: rows of the table of positions; None where there is none.
        max_src_length: longest source of training, in tokens, EOS included.
        max_src_sentences: most sentences of a source of training; None: unknown.
    """
    src, tgt = parse_langs(config.data.langs)
    decoding = config.decoding
    longest = str(decoding.max_length) if decoding.max_length else "2 * max(map(len, pieces), default=0) + 50"
    if n_positions is not None:
        longest = f"min({n_positions}, {longest})"
    python = (
        _PYTHON.replace("BEAM_SIZE", str(decoding.beam_size))
        .replace("LENGTH_PENALTY", str(decoding.alpha))
        .replace("MAX_LENGTH", longest)
        .replace("BATCH_TOKENS", str(decoding.batch_tokens or max(1, _BATCH_TOKENS // decoding.beam_size)))
    )
    pieces = counted(max_src_length - 1, "piece")
    sentences = "" if max_src_sentences is None else f" or {counted(max_src_sentences, 'sentence')}"
    text = f"""# {src} → {tgt}, for CTranslate2

Exported by seq2seq; the weights are kept as {quantization}. `pip install ctranslate2 sentencepiece`, then:

```python
{python}```

Saved as `translate.py` in this folder, it is run as `python translate.py < text.{src} > text.{tgt}`.

- The input is only the pieces: CTranslate2 adds the end of the sentence itself (`add_source_eos`). A line without
  pieces comes out blank.
- The settings above are those of the run. Scores are seq2seq's: log-probability / length^α, the end of the sentence
  counted.
- The symbols for what is unknown, for the start, for padding and for language tags never come out.
- Split lines of more than {pieces}{sentences}, as `seq2seq translate` does by itself: the model
  was not trained on longer ones. CTranslate2 cuts off what goes beyond 1,024 (`max_input_length`).
- With several beams CTranslate2 ends a search with as many finished hypotheses as there are beams (`patience`);
  seq2seq continues while a live one is ten times likelier than all of them, which happens where a model is very sure of
  itself: only then may lines come out differently.
"""
    if n_positions is not None:
        tokens = counted(n_positions, "token")
        text += f"- Positions are written out for {tokens} a side; beyond them CTranslate2 raises an error.\n"
    return text

"""Training of the SentencePiece model, in a child process."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import sentencepiece as spm

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import cannot_write
from seq2seq.tokenizer.model import BOS, EOS, N_CONTROL, N_TAGS, PAD, UNK
from seq2seq.tokenizer.normalization import normalizer, with_denormalizer

# It is the same on every machine, as the sums of the unigram trainer depend on the number of threads.
_TRAINER_THREADS = 4
_N_OTHER_PIECES = N_CONTROL + 256 + 1
"""Number of required pieces that are not characters of the text: control symbols, bytes, SentencePiece's space."""
_MAX_LINE_BYTES = 16_384
"""Longer lines are left out of the tokenizer's training text."""
_ERRORS = 2
"""Lowest log level that SentencePiece writes to stderr."""


def train_model(
    lines: Iterator[str], *, vocab_size: int, tokenizer_type: str, normalization: str, may_grow: bool = False
) -> tuple[bytes, int]:
    """Train a SentencePiece model. The vocabulary becomes smaller if the text is too small for it.

    Args:
        lines: training text of both languages.
        vocab_size: number of pieces, control symbols and 256 bytes included. Tags are added to it.
        may_grow: if the text has more characters than ``vocab_size`` (as Chinese may), add them to it.
        tokenizer_type: ``unigram`` or ``bpe``.
        normalization: ``nfc``, ``nfkc`` or ``identity``.

    Returns:
        The model, and its number of pieces, tags not counted.

    Raises:
        UserError: no pieces can be learned from the text (65).
    """
    sample = list(lines)
    if all(not line or len(line.encode()) > _MAX_LINE_BYTES for line in sample):
        raise UserError(
            f"the tokenizer has no line to learn from: all are empty or longer than {_MAX_LINE_BYTES:,} bytes",
            mend="give text with one sentence per line",
        )
    spm.set_min_log_level(_ERRORS)
    rules = normalizer(normalization)
    size, grown_from = vocab_size, vocab_size if may_grow else 0
    while True:
        written = io.BytesIO()
        try:
            spm.SentencePieceTrainer.Train(
                sentence_iterator=iter(sample),
                model_writer=written,
                vocab_size=size + N_TAGS,
                model_type=tokenizer_type,
                normalizer=rules,
                character_coverage=0.9999,
                # SentencePiece's space starts every line, also in text with few spaces.
                required_chars="\u2581",
                control_symbols=[f"<tag{i}>" for i in range(N_TAGS)],
                byte_fallback=True,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                pad_id=PAD,
                num_threads=_TRAINER_THREADS,
                max_sentence_length=_MAX_LINE_BYTES,
                minloglevel=_ERRORS,
            )
        except RuntimeError as error:
            size, grown_from = _another_size(size, grown_from, str(error)), 0
            continue
        model = written.getvalue()
        return model if normalization == "nfkc" else with_denormalizer(model, normalization, sample), size


def _another_size(size: int, grown_from: int, message: str) -> int:
    """The next vocabulary to try after SentencePiece refused one.

    Args:
        size: the size that was refused.
        grown_from: number of pieces besides the characters; 0: the vocabulary may not grow.
        message: SentencePiece's error message.
    """
    # "Vocabulary size too high (8000). Please set it to a value <= 1234."
    limit = re.search(r"too high .*<= (\d+)", message)
    if limit and 0 < int(limit.group(1)) - N_TAGS < size:
        return int(limit.group(1)) - N_TAGS
    # "Vocabulary size is smaller than required_chars. 300 vs 335."
    required = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    needed = int(required.group(1)) - N_TAGS if required else 0
    if required and grown_from:
        return grown_from + needed
    if required:
        raise UserError(
            f"data.vocab_size {size:,} is too small for 256 bytes and the {needed - _N_OTHER_PIECES:,} characters of "
            "this text",
            mend=f"give `data.vocab_size={2 * needed}` or more",
        )
    raise UserError(
        f"no vocabulary of {size:,} pieces can be learned from this text: {_last_line(message)}",
        mend="give more text",
    )


def train_tokenizer(
    sample: Path, model: Path, *, vocab_size: int, tokenizer_type: str, normalization: str, may_grow: bool = False
) -> int:
    """Train a SentencePiece model in a child process, whose memory is freed when it ends.

    Args:
        sample: file of training text, UTF-8, one sentence a line.
        model: file to write.
        vocab_size: number of pieces.
        tokenizer_type: ``unigram`` or ``bpe``.
        normalization: ``nfc``, ``nfkc`` or ``identity``.
        may_grow: as for ``train_model``.

    Returns:
        The number of pieces. It is less than ``vocab_size`` if the text is too small; with ``may_grow`` it may be more.

    Raises:
        UserError: no pieces can be learned from the text (65), the model cannot be written (74), or the
            child was killed (75).
    """
    request = json.dumps([str(sample), str(model), vocab_size, tokenizer_type, normalization, may_grow])
    child = subprocess.run(
        # -P: a file json.py in the user's current folder must not replace the library's.
        [sys.executable, "-P", "-m", "seq2seq.tokenizer", request],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if child.returncode == 0:
        return int(child.stdout)
    if child.returncode in (ExitCode.BAD_DATA, ExitCode.CANNOT_WRITE):
        what, mend = json.loads(child.stderr)
        raise UserError(what, mend=mend, code=ExitCode(child.returncode))
    if child.returncode < 0:
        raise UserError(
            f"training the tokenizer was killed by signal {-child.returncode}",
            mend="free memory or lower data.tokenizer_sample, then run the same command again",
            code=ExitCode.TRY_LATER,
        )
    raise RuntimeError(f"training the tokenizer failed: {child.stderr}")


def _last_line(message: str) -> str:
    return message.strip().rpartition("\n")[2]


def _report(error: UserError) -> int:
    """Send an error to the parent process. Returns its exit code."""
    sys.stderr.write(json.dumps([error.what, error.mend]))
    return error.code


def run_request(request: str) -> int:
    """The work of the child process: train, write the model, print the number of pieces. Returns the exit code."""
    sample, model, vocab_size, tokenizer_type, normalization, may_grow = json.loads(request)
    with open(sample, encoding="utf-8", newline="\n") as lines:
        try:
            trained, size = train_model(
                (line.rstrip("\n") for line in lines),
                vocab_size=vocab_size,
                tokenizer_type=tokenizer_type,
                normalization=normalization,
                may_grow=may_grow,
            )
        except UserError as error:
            return _report(error)
    try:
        Path(model).write_bytes(trained)
    except OSError as error:
        return _report(cannot_write(model, error))
    sys.stdout.write(str(size))
    return 0

"""SentencePiece: text to piece ids and back, and the training of its model.

The vocabulary is joint over both languages. Every character can be spelt in bytes, so none is
unknown; and the control symbols are made by id alone, so that no text can forge them.

Source: Kudo and Richardson 2018, arXiv:1808.06226.
"""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece as spm

from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import cannot_write

UNK, BOS, EOS, PAD = 0, 1, 2, 3
"""Ids of the control symbols; BOS starts a target, EOS ends a source or a target."""
N_CONTROL = 4
"""So many: a text is encoded to none of these ids."""
N_TAGS = 100
"""Ids after these that are kept free for language tags: control symbols too, so that no text is encoded to one."""

# One count on every machine: the unigram trainer's sums depend on how its work is divided.
_TRAINER_THREADS = 4
_FEW = 4
"""Fewer lines are encoded one by one: for several SentencePiece starts threads, which takes a millisecond."""
_NO_CHARACTERS = N_CONTROL + 256 + 1
"""Pieces that are none of the text's characters: control symbols, bytes, and SentencePiece's space."""
_MOST_LINE_BYTES = 16_384
"""Longer lines are left out of the tokenizer's training text."""

_NORMALIZATION_RULES = {"nfkc": "nmt_nfkc", "identity": "identity"}


class Tokenizer:
    """A trained SentencePiece model.

    Args:
        model: the bytes of a ``tokenizer.model``.
        where: named in errors.

    Raises:
        UserError: the bytes are no model, or its control symbols are not where ours are (78).
    """

    def __init__(self, model: bytes, where: str = "tokenizer.model") -> None:
        self.model = model
        self._processor = spm.SentencePieceProcessor()
        try:
            if not model:
                raise RuntimeError("it is empty")  # which SentencePiece takes for a vocabulary of none
            self._processor.LoadFromSerializedProto(model)
            self.pieces(range(len(self)))  # which SentencePiece does not check to be UTF-8
        except (RuntimeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{where} is not a SentencePiece model: {_first_line(error)}",
                mend="give the tokenizer.model that `seq2seq train` or `spm_train` wrote",
                code=ExitCode.REFUSED,
            ) from None
        ids = (self._processor.unk_id(), self._processor.bos_id(), self._processor.eos_id(), self._processor.pad_id())
        if ids != (UNK, BOS, EOS, PAD):
            raise UserError(
                f"{where} has unk, bos, eos, pad at {ids} instead of {(UNK, BOS, EOS, PAD)}",
                mend="train it with --unk_id=0 --bos_id=1 --eos_id=2 --pad_id=3, or let `seq2seq train` make one",
                code=ExitCode.REFUSED,
            )

        # A model from elsewhere may have no tags.
        self.n_control = next((i for i in range(N_CONTROL, len(self)) if not self._processor.IsControl(i)), len(self))
        """Ids below this one are control symbols and tags, of which only EOS may come out."""

    def __len__(self) -> int:
        """Ids of the vocabulary: those of pieces and of tags."""
        return int(self._processor.GetPieceSize())

    @property
    def n_pieces(self) -> int:
        """Pieces of the vocabulary, tags not counted: what ``data.vocab_size`` means."""
        return len(self) - (self.n_control - N_CONTROL)

    def encode(self, lines: Sequence[str], *, threads: int = 1) -> list[list[int]]:
        """Piece ids of each line; neither BOS nor EOS is added. A blank line has none.

        Args:
            lines: any text.
            threads: more than one where PyTorch has none: beside its own they only take turns.
        """
        if len(lines) < _FEW:
            return [self._processor.Encode(line, out_type=int) for line in lines]
        ids: list[list[int]] = self._processor.Encode(list(lines), out_type=int, num_threads=threads)
        return ids

    def sample(self, ids: Sequence[Sequence[int]], alpha: float, seed: int) -> list[list[int]]:
        """Divide the text of each row into pieces another way, drawn at random.

        Args:
            ids: rows as ``encode`` made them.
            alpha: for a unigram model the power that a division's probability is raised to; for BPE the share of
                merges that is left out.
            seed: the draw depends on it and on all rows, and on nothing that was drawn before.

        Raises:
            UserError: a model of characters or words (78).

        Source: Kudo 2018, arXiv:1804.10959; Provilkov et al. 2020, arXiv:1910.13267.
        """
        texts = self._processor.Decode(ids, num_threads=1)
        # SentencePiece draws several lines in a thread of its own, whose random numbers begin with this seed.
        spm.set_random_generator_seed(seed)
        try:
            drawn: list[list[int]] = self._processor.Encode(
                texts, out_type=int, num_threads=1, enable_sampling=True, alpha=alpha, nbest_size=-1
            )
        except RuntimeError as error:
            raise UserError(
                f"this tokenizer divides a text in one way alone: {_first_line(error)}",
                mend="leave out data.subword_sampling, or take a unigram or BPE model",
                code=ExitCode.REFUSED,
            ) from None
        return drawn

    def decode(self, ids: Sequence[Sequence[int]], *, threads: int = 1) -> list[str]:
        """Text of each list of piece ids, without control symbols. Threads as for ``encode``."""
        if len(ids) < _FEW:
            return [self._processor.Decode(list(row)) if len(row) else "" for row in ids]
        texts: list[str] = self._processor.Decode([list(row) for row in ids], num_threads=threads)
        return texts

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces themselves, for a person to look at."""
        return [self._processor.IdToPiece(int(i)) for i in ids]


def train_model(
    lines: Iterator[str], *, vocab_size: int, tokenizer_type: str, normalization: str, may_grow: bool = False
) -> tuple[bytes, int]:
    """Train a SentencePiece model, lowering a vocabulary that the text is too small for.

    Args:
        lines: training text of both languages.
        vocab_size: pieces wanted, control symbols and 256 bytes included. Tags come on top.
        may_grow: where these do not even hold the text's characters, as in Chinese, there may be so many more.
        tokenizer_type: ``unigram`` or ``bpe``.
        normalization: ``nfkc`` or ``identity``.

    Returns:
        The model, and the pieces it has, tags not counted.

    Raises:
        UserError: the text holds nothing to learn pieces from (65).
    """
    sample = list(lines)
    if all(not line or len(line.encode()) > _MOST_LINE_BYTES for line in sample):
        raise UserError(
            f"the tokenizer has no line to learn from: all are empty or longer than {_MOST_LINE_BYTES:,} bytes",
            mend="give text with one sentence per line",
        )
    size, grown_from = vocab_size, vocab_size if may_grow else 0
    while True:
        written = io.BytesIO()
        try:
            spm.SentencePieceTrainer.Train(
                sentence_iterator=iter(sample),
                model_writer=written,
                vocab_size=size + N_TAGS,
                model_type=tokenizer_type,
                normalization_rule_name=_NORMALIZATION_RULES[normalization],
                # Spaces are text too where text is to be left as it is.
                remove_extra_whitespaces=normalization != "identity",
                character_coverage=0.9999,
                # A space, in SentencePiece's spelling: even where there are few, it starts every line.
                required_chars="\u2581",
                control_symbols=[f"<tag{i}>" for i in range(N_TAGS)],
                byte_fallback=True,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                pad_id=PAD,
                num_threads=_TRAINER_THREADS,
                max_sentence_length=_MOST_LINE_BYTES,
                minloglevel=2,
            )
        except RuntimeError as error:
            size, grown_from = _another_size(size, grown_from, str(error)), 0
            continue
        return written.getvalue(), size


def _another_size(size: int, grown_from: int, message: str) -> int:
    """The next vocabulary to try after SentencePiece refused one.

    Args:
        size: refused.
        grown_from: so many pieces beside the characters are wanted; 0: it may not grow.
        message: SentencePiece's.
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
            f"data.vocab_size {size:,} is too small for 256 bytes and the {needed - _NO_CHARACTERS:,} characters of "
            "this text",
            mend=f"give --set data.vocab_size={2 * needed} or more",
        )
    raise UserError(
        f"no vocabulary of {size:,} pieces can be learnt from this text: {_last_line(message)}",
        mend="give more text",
    )


def train_tokenizer(
    sample: Path, model: Path, *, vocab_size: int, tokenizer_type: str, normalization: str, may_grow: bool = False
) -> int:
    """Train a SentencePiece model in a child process, whose memory is gone when it ends.

    Args:
        sample: text to learn from, UTF-8, a line a sentence.
        model: where the model is written.
        vocab_size: pieces wanted.
        tokenizer_type: ``unigram`` or ``bpe``.
        normalization: ``nfkc`` or ``identity``.
        may_grow: as ``train_model``'s.

    Returns:
        The pieces of the model: fewer than wanted where the text is too small, more where they ``may_grow``.

    Raises:
        UserError: nothing can be learnt from the text (65), the model cannot be written (74), or the
            child was killed (75).
    """
    request = json.dumps([str(sample), str(model), vocab_size, tokenizer_type, normalization, may_grow])
    child = subprocess.run(
        # -P: a file json.py in the folder the user is in must not be taken for the library's.
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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _last_line(message: str) -> str:
    return message.strip().rpartition("\n")[2]


def _told(error: UserError) -> int:
    """Hand an error to the parent process; its exit code."""
    sys.stderr.write(json.dumps([error.what, error.mend]))
    return error.code


def _child(request: str) -> int:
    """What the child process of ``train_tokenizer`` does; prints the number of pieces."""
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
            return _told(error)
    try:
        Path(model).write_bytes(trained)
    except OSError as error:
        return _told(cannot_write(model, error))
    sys.stdout.write(str(size))
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1]))

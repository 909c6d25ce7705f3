"""A trained SentencePiece model: text to piece ids and back.

Both languages have one joint vocabulary. Unknown characters are encoded as bytes, so none is lost. No text is encoded
as a control symbol.

Source: Kudo and Richardson 2018, arXiv:1808.06226.
"""

import math
from collections.abc import Sequence
from typing import Literal

import sentencepiece as spm

from seq2seq.errors import ExitCode, UserError

UNK, BOS, EOS, PAD = 0, 1, 2, 3
"""Ids of the control symbols. BOS starts a target; EOS ends a source or a target."""
N_CONTROL = 4
"""Number of control symbols. No text is encoded as one of them."""
N_TAGS = 100
"""Number of ids after the control symbols that are reserved for language tags. No text is encoded as one of them."""

_MIN_THREADED = 4
"""Fewer lines are encoded one by one. For a list SentencePiece starts threads, which takes a millisecond."""


class Tokenizer:
    """A trained SentencePiece model.

    Args:
        model: content of a ``tokenizer.model``.
        where: named in errors.

    Raises:
        UserError: the bytes are not a model, or its control symbols have other ids than the ones above (78).
    """

    def __init__(self, model: bytes, where: str = "tokenizer.model") -> None:
        self.model = model
        self._processor = spm.SentencePieceProcessor()
        try:
            if not model:
                raise RuntimeError("it is empty")  # SentencePiece would load it as an empty vocabulary
            self._processor.LoadFromSerializedProto(model)
            self.pieces(range(len(self)))  # raises if a piece is not UTF-8: SentencePiece does not check
        except (RuntimeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{where} is not a SentencePiece model: {_first_line(error)}",
                mend="give the tokenizer.model that `seq2seq train` or `spm_train` wrote",
                code=ExitCode.REFUSED,
            ) from None
        ids = (self._processor.unk_id(), self._processor.bos_id(), self._processor.eos_id(), self._processor.pad_id())
        if ids != (UNK, BOS, EOS, PAD):
            raise UserError(
                f"{where} has unk, bos, eos and pad at {ids} instead of {(UNK, BOS, EOS, PAD)}",
                mend="train it with --unk_id=0 --bos_id=1 --eos_id=2 --pad_id=3, or let `seq2seq train` make one",
                code=ExitCode.REFUSED,
            )

        # A model from another program may have no tags.
        self.n_control = next((i for i in range(N_CONTROL, len(self)) if not self._processor.IsControl(i)), len(self))
        """Ids below this one are control symbols and tags. Of these the model may output only EOS."""

    def __len__(self) -> int:
        """Number of ids: pieces and tags."""
        return int(self._processor.GetPieceSize())

    @property
    def n_pieces(self) -> int:
        """Number of pieces, tags not counted: the meaning of ``data.vocab_size``."""
        return len(self) - (self.n_control - N_CONTROL)

    def encode(self, lines: Sequence[str], *, threads: int = 1) -> list[list[int]]:
        """Piece ids of each line, without BOS and EOS. A blank line has none.

        Args:
            lines: any text.
            threads: number of threads. Use more than one only while PyTorch computes nothing: they compete for cores.
        """
        if len(lines) < _MIN_THREADED:
            return [self._processor.Encode(line, out_type=int) for line in lines]
        ids: list[list[int]] = self._processor.Encode(list(lines), out_type=int, num_threads=threads)
        return ids

    def decode(self, ids: Sequence[Sequence[int]], *, threads: int = 1) -> list[str]:
        """Text of each list of piece ids, without control symbols. Threads as for ``encode``."""
        if len(ids) < _MIN_THREADED:
            return [self._processor.Decode(list(row)) if len(row) else "" for row in ids]
        texts: list[str] = self._processor.Decode([list(row) for row in ids], num_threads=threads)
        return texts

    def starts(self, lines: Sequence[str], *, threads: int = 1) -> list[list[int]]:
        """Where each piece of ``encode`` begins in its line, as an offset; a space belongs to the piece after it.

        Bytes of one character may have the same offset. Arguments as ``encode``'s.
        """
        found = self._processor.Encode(list(lines), return_type="offset_mapping", num_threads=threads)
        return [[start for start, _ in row["offsets"]] for row in found]

    def decoded_starts(self, ids: Sequence[Sequence[int]], *, threads: int = 1) -> list[list[int]]:
        """Where each piece begins in the text of ``decode``, as an offset. Arguments as ``decode``'s."""
        rows = [list(row) for row in ids]
        found = self._processor.Decode(rows, return_type="offset_mapping", num_threads=threads) if rows else []
        return [[start for start, _ in row["offsets"]] for row in found]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces with these ids, as readable text."""
        return [self._processor.IdToPiece(int(i)) for i in ids]

    def scores(self) -> list[float]:
        """Score of each piece. Unigram: its log-probability; BPE: pieces with higher scores are merged first."""
        scores: list[float] = self._processor.GetScore(list(range(len(self))))
        return scores

    def is_learned(self) -> list[bool]:
        """Whether each piece was learned from text. Control symbols, bytes and user-defined pieces were not."""
        ids = list(range(len(self)))
        model = self._processor
        others = zip(model.IsControl(ids), model.IsUnknown(ids), model.IsByte(ids), model.IsUnused(ids), strict=True)
        # SentencePiece does not say which pieces a user defined. Their score is 0; that of learned ones is below 0, or
        # -0.
        scores = self.scores()
        return [math.copysign(1.0, score) < 0 and not any(other) for score, other in zip(scores, others, strict=True)]

    def algorithm(self) -> Literal["unigram", "bpe"]:
        """The algorithm that divides text into pieces.

        Raises:
            UserError: a model of words or characters, which divides text in only one way (78).
        """
        try:
            self._processor.NBestEncode("a", nbest_size=1)
        except RuntimeError:
            pass
        else:
            return "unigram"
        try:
            self._processor.Encode("a", enable_sampling=True, alpha=0.0, nbest_size=-1)
        except RuntimeError as error:
            raise UserError(
                f"this tokenizer is deterministic and cannot sample: {_first_line(error)}",
                mend="leave out data.subword_sampling, or use a unigram or BPE model",
                code=ExitCode.REFUSED,
            ) from None
        return "bpe"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

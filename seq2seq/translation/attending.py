"""Where a model looks as it translates a line: the maps of attention that a ``Translator`` gives."""

from collections.abc import Sequence

from seq2seq.attention import Attention, AttentionMaps, Place, read_maps
from seq2seq.errors import UserError, counted
from seq2seq.model import Seq2SeqModel
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.segments import Ids, Segment


class AttentionReader:
    """Reads the attention of segments and their translations.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        max_tgt_length: max tokens of a target that the model can read, EOS included; None: no limit.
    """

    def __init__(self, model: Seq2SeqModel, tokenizer: Tokenizer, max_tgt_length: int | None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_tgt_length = max_tgt_length

    def mean_cross_attention(self, segments: Sequence[Segment], translation: str) -> Attention | None:
        """As ``Translator.attention``.

        Args:
            segments: of the line.
            translation: of the line.
        """
        (tgt_ids,) = self._tokenizer.encode([translation])
        if not tgt_ids or len(segments) != 1 or not self._can_read(tgt_ids):
            return None
        maps = read_maps(self._model, self._tokenizer, segments[0].ids, tgt_ids)
        return Attention(maps.src_pieces, maps.tgt_pieces, maps.map("cross").weights)

    def check_given(self, segments: Sequence[Segment], translation: str) -> list[Ids]:
        """The pieces of a given translation, for each segment of its line: one, or none if the line is blank.

        Raises:
            UserError: the translation is blank or too long, or the line has several segments (65).
        """
        (tgt_ids,) = self._tokenizer.encode([translation])
        if len(segments) > 1:
            raise UserError(
                f"the source is divided into {len(segments)} segments, but the given translation is not",
                mend="give one sentence and its translation, or let the model translate",
            )
        if not tgt_ids or not self._can_read(tgt_ids):
            size = f"has {counted(len(tgt_ids), 'token')}, too many for this model" if tgt_ids else "is blank"
            raise UserError(f"the given translation {size}", mend="give another one, or let the model translate")
        return [tgt_ids] if segments else []

    def maps(self, segments: Sequence[Segment], best: Sequence[Ids], place: Place | None) -> list[AttentionMaps]:
        """The maps of each segment and its translation.

        Args:
            segments: of a line.
            best: pieces of the translation of each. A translation that was cut off at the model's max length loses its
                last piece, as the model reads EOS, too.
            place: a head whose queries, keys and values are read, too.
        """
        readable = [tokens if self._can_read(tokens) else tokens[:-1] for tokens in best]
        return [
            read_maps(self._model, self._tokenizer, segment.ids, tokens, place=place)
            for segment, tokens in zip(segments, readable, strict=True)
        ]

    def _can_read(self, tgt_ids: Ids) -> bool:
        return self._max_tgt_length is None or len(tgt_ids) < self._max_tgt_length

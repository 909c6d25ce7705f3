"""What a new run trains: from the settings of the user, the corpus and the machine."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch

from seq2seq.batching import epoch_updates
from seq2seq.config import DataConfig, Layer, RunConfig, merge, parse_langs
from seq2seq.config.types import MAX_COUNT
from seq2seq.corpus import own_validation
from seq2seq.errors import counted
from seq2seq.evaluation import build_metric
from seq2seq.runs import Limits
from seq2seq.training.best import choose_best_metric
from seq2seq.training.checks import require_data
from seq2seq.training.ingest import CorpusRecord
from seq2seq.training.length import LIMITS, kind_of, measured_rate, resolve_length
from seq2seq.training.opening import length_lines, opening_lines
from seq2seq.training.plan import Setup
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.recipe import STREAM_PAIRS, Recipe, Statistics, recipe, record_of, speed, with_vocabulary
from seq2seq.training.state import Cadence, TrainingState
from seq2seq.training.streaming import n_sampled, refuse_unfit_stream
from seq2seq.training.tuning import MANY_PAIRS, MAX_SAMPLED_SHARDS

_CADENCES: tuple[Cadence, ...] = ("valid_every", "save_every")
"""Keys of ``training`` that follow from the length of training if they are unset."""


@dataclass(frozen=True)
class NewRun:
    """A ``Plan`` for a run without a checkpoint."""

    data: DataConfig
    user_layer: Layer
    """The settings of the user, all layers together."""
    device: torch.device
    n_ranks: int = 1
    """Processes that train together."""
    expected: None = None
    tokenizer: None = None

    @property
    def may_grow(self) -> bool:
        """It grows unless the user sets its size."""
        return "vocab_size" not in self.user_layer.get("data", {})

    def tokenized(self, corpora: Sequence[CorpusRecord]) -> Generator[Notice, None, DataConfig]:
        """Tokenize by the recipe for this number of pairs."""
        n_pairs = _n_pairs(corpora)
        data = self._first_recipe(_n_pairs_to_expect(corpora)).config.data
        if _is_short_stream(corpora, data):
            yield Notice(
                f"the whole stream holds only {counted(n_pairs, 'pair')}: without streaming, the recipe would suit a "
                "corpus of this size",
                warning=True,
            )
        if n_pairs > MANY_PAIRS and not data.tokenizer:
            yield Notice("training the tokenizer")
        return data

    def _first_recipe(self, n_pairs: int) -> Recipe:
        """The recipe before the corpus is tokenized. It decides the vocabulary."""
        return recipe(Statistics.guess(n_pairs), kind_of(self.device), self.user_layer)

    def _recipe(self, prepared: Prepared, corpus: Statistics) -> Recipe:
        """The recipe of the run, with the vocabulary that was made."""
        first, n_pieces = self._first_recipe(_n_pairs_to_expect(prepared.corpora)), prepared.tokenizer.n_pieces
        # The vocabulary was made before pairs were dropped or held out.
        found = recipe(corpus, kind_of(self.device), self.user_layer)
        found = with_vocabulary(found, first.advised.data.vocab_size, first.reasons.vocabulary)
        if not first.config.data.tokenizer and n_pieces > first.config.data.vocab_size:
            why = "a piece for each character, and as many more as the text allows"
            found = with_vocabulary(found, n_pieces, why)
        return found

    def setup(self, prepared: Prepared) -> Generator[Notice, None, Setup]:
        """Train by the recipe for this corpus, and explain it."""
        corpus = _statistics(prepared)
        found, kind = self._recipe(prepared, corpus), kind_of(self.device)
        config = found.config
        limits = Limits(**{name: getattr(config.training, name) for name in LIMITS})
        derived = tuple(key for key in _CADENCES if getattr(config.training, key) is None)
        record = record_of(found, config, prepared.tokenizer_sha256 if config.data.tokenizer else "")
        n_pieces = prepared.tokenizer.n_pieces
        n_pairs, n_shards = prepared.n_pairs, prepared.n_shards
        lines = opening_lines(found, str(record), config, n_pairs, n_pieces, self.device.type, n_shards)
        yield from map(Notice, lines)
        an_epoch = updates_an_epoch(config, prepared)
        config = resolve_length(config, found.usual_epochs, an_epoch)
        rate = self.n_ranks * measured_rate(config, self.device)

        def seconds_an_epoch(config: RunConfig) -> float:
            return corpus.n_tgt_tokens / speed(config, corpus, len(prepared.tokenizer), kind, rate)

        usual = recipe(corpus, kind, merge([self.user_layer, {"training": dict.fromkeys(LIMITS)}]))
        yield from length_lines(found, usual, config, an_epoch, seconds_an_epoch, self.device.type)
        config, validation, notices = choose_best_metric(config, prepared)
        yield from notices
        state = TrainingState(
            config=config,
            limits=limits,
            derived=derived,
            corpora=tuple(corpus.id for corpus in prepared.corpora),
            tokenizer_sha256=prepared.tokenizer_sha256,
            recipe=record,
        )
        return Setup(state, validation, max_useful_updates(config, found.usual_epochs, an_epoch))


def plan_new_run(
    requested: RunConfig, user_layer: Layer, device: torch.device, n_ranks: int = 1
) -> Generator[Notice, None, NewRun]:
    """Make the checks that need no corpus.

    Args:
        requested: the command's configuration, with defaults for keys that are unset.
        user_layer: the same without them.
        device: that will train.
        n_ranks: processes that train together.

    Raises:
        UserError: no languages or no corpus is given (2), or what the requested metric needs is missing (78).
    """
    require_data(requested)
    refuse_unfit_stream(requested)
    data = requested.data
    if own := own_validation_splits(data, user_layer):
        yield Notice(
            f"{', '.join(own)} is used for validation: a split of the same data set (`data.valid` names another corpus)"
        )
        data, user_layer = replace(data, valid=own), merge([user_layer, {"data": {"valid": own}}])
    if requested.training.best_metric == "bleu":
        build_metric("bleu", parse_langs(data.langs)[1])
    return NewRun(data, user_layer, device, n_ranks)


def own_validation_splits(data: DataConfig, user_layer: Layer) -> tuple[str, ...]:
    """The validation splits of the data sets to train on, unless ``data.valid`` is given."""
    if "valid" in user_layer.get("data", {}):
        return ()
    return tuple(word for corpus in data.train if corpus.startswith("hf:") and (word := own_validation(corpus)))


def updates_an_epoch(config: RunConfig, prepared: Prepared) -> int:
    """Updates of the first epoch; other epochs differ by one or two. Of a stream: as if it had ``STREAM_PAIRS``."""
    if prepared.n_shards:
        return -(-_statistics(prepared).n_tgt_tokens // config.training.batch_tokens)
    training, ids = config.training, prepared.ids
    order = epoch_updates(
        ids.src_lengths, ids.tgt_lengths, batch_tokens=training.batch_tokens, seed=training.seed, epoch=0
    )
    return sum(1 for _ in order)


def max_useful_updates(config: RunConfig, usual_epochs: float, an_epoch: int) -> int:
    """More updates would hardly help, even if there is time. A stream is taken to have something new at any time."""
    return MAX_COUNT if config.data.streaming else round(usual_epochs * an_epoch)


def _statistics(prepared: Prepared) -> Statistics:
    """Of the corpus; of a stream, what ``STREAM_PAIRS`` pairs would have that are like those read before training."""
    n_pairs, n_src, n_tgt = prepared.n_pairs, prepared.n_src_tokens, prepared.n_tgt_tokens
    if not prepared.n_shards:
        return Statistics(n_pairs, n_src, n_tgt)
    return Statistics(STREAM_PAIRS, STREAM_PAIRS * n_src // n_pairs, STREAM_PAIRS * n_tgt // n_pairs)


def _n_pairs_to_expect(corpora: Sequence[CorpusRecord]) -> int:
    return STREAM_PAIRS if any(corpus.shards for corpus in corpora) else _n_pairs(corpora)


def _n_pairs(corpora: Sequence[CorpusRecord]) -> int:
    """Pairs with text on both sides, before validation pairs are held out."""
    return sum(c.pairs - c.dropped_empty for c in corpora if c.role == "train")


def _is_short_stream(corpora: Sequence[CorpusRecord], data: DataConfig) -> bool:
    """Whether all of a stream was read before training: each corpus has fewer pairs than were to be read of it."""
    streamed = [corpus for corpus in corpora if corpus.shards]
    return bool(streamed) and all(
        corpus.shards <= MAX_SAMPLED_SHARDS and corpus.pairs < n_sampled(corpus.corpus, data) for corpus in streamed
    )

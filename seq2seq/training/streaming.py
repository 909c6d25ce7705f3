"""Streamed corpora: what a command requests, and the pairs that are read before training."""

from collections.abc import Callable, Iterator, Sequence

from seq2seq.config import DataConfig, Layer, RunConfig, parse_langs
from seq2seq.corpus import (
    STREAMED,
    CorpusCounts,
    Pair,
    Shard,
    describe_misalignment,
    find_misalignment,
    or_skip,
    shards_of,
)
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.text import is_blank
from seq2seq.training.length import LIMITS
from seq2seq.training.progress import Notice
from seq2seq.training.tuning import MAX_SAMPLED_SHARDS


def with_streaming(layer: Layer) -> Layer:
    """The configuration with ``data.streaming`` in place of ``CORPUS?streaming``.

    Raises:
        UserError: a validation corpus is to be streamed, or ``data.streaming = false`` contradicts (2).
    """
    data = layer.get("data", {})
    for word in data.get("valid") or ():
        if word.endswith(STREAMED):
            raise UserError(
                f"{word}: validation pairs are kept in memory and cannot be streamed",
                mend=f"leave out {STREAMED}; name few pairs, such as a split of its own",
                code=ExitCode.USAGE,
            )
    words = tuple(word.removesuffix(STREAMED) for word in data.get("train") or ())
    if words == tuple(data.get("train") or ()):
        return layer
    if data.get("streaming") is False:
        raise UserError(
            f"a corpus ends in {STREAMED}, but data.streaming is false", mend="give one of them", code=ExitCode.USAGE
        )
    return {**layer, "data": {**data, "train": words, "streaming": True}}


def refuse_unfit_stream(config: RunConfig) -> None:
    """Refuse keys that apply only to streams without one, and a stream without a length or with unfit weights.

    Raises:
        UserError: 2
    """
    data, training = config.data, config.training
    what = mend = ""
    if not data.streaming:
        given = ["data.weights"] * bool(data.weights) + ["data.bad_shards=skip"] * (data.bad_shards == "skip")
        if given:
            what = f"`{given[0]}` applies only to corpora that are streamed"
            mend = f"write CORPUS{STREAMED}, or leave it out"
    elif training.max_epochs is not None:
        what = f"`training.max_epochs={training.max_epochs}` cannot be used with a stream, whose size is unknown"
        mend = "give `training.max_updates` or `training.time_budget`"
    elif all(getattr(training, name) is None for name in LIMITS):
        what = "how long to train on a stream is not known, because its size is unknown"
        mend = "give `training.max_updates` or `training.time_budget`"
    elif data.weights and len(data.weights) != len(data.train):
        what = f"data.weights has {counted(len(data.weights), 'number')} for {counted(len(data.train), 'corpus')}"
        what = what.replace("corpuss", "corpora")
        mend = "give one for each CORPUS; quote a pattern, so that the shell does not expand it"
    if what:
        raise UserError(what, mend=mend, code=ExitCode.USAGE)


def sources(data: DataConfig) -> tuple[list[list[Shard]], list[float]]:
    """The sources of a stream, and their weights: each corpus, or without ``data.weights`` all corpora together."""
    corpora = [shards_of(word, parse_langs(data.langs)) for word in data.train]
    if data.weights:
        return corpora, list(data.weights)
    return [[shard for shards in corpora for shard in shards]], [1.0]


def n_sampled(word: str, data: DataConfig) -> int:
    """How many of the pairs that are read before training come from a corpus, at most."""
    weights = data.weights or [1.0] * len(data.train)
    share = weights[data.train.index(word)] / sum(weights)
    return max(1, round(share * data.stream_sample))


def sample(
    shards: Sequence[Shard], n: int, data: DataConfig, counts: CorpusCounts, notify: Callable[[Notice], None]
) -> Iterator[Pair]:
    """The first pairs of some shards, spread evenly over them. All shards must exist.

    Args:
        shards: of a corpus.
        n: max number of pairs.
        data: languages, and what to do with bad shards and alarms.
        counts: are updated while reading.
        notify: called with alarms and skipped shards.

    Raises:
        UserError: as ``read_pairs``; or a shard is misaligned (65).
    """
    step = max(1, -(-len(shards) // MAX_SAMPLED_SHARDS))
    n_left, places = n, range(0, len(shards), step)
    for i, shard in enumerate(shards):
        is_sampled = i in places
        # One pair shows that the shard can be read.
        n_wanted = -(-n_left // (len(places) - i // step)) if is_sampled else 1
        pairs: list[Pair] = []
        opened = shard.open(parse_langs(data.langs), data.encoding_errors)
        try:
            while len(pairs) < n_wanted and (pair := next(opened.pairs, None)) is not None:
                pairs.append(pair)
        except UserError as error:
            if data.bad_shards == "refuse":
                raise or_skip(error) from None
            notify(Notice(f"{shard.name} is skipped after {len(pairs):,} of its pairs: {error.what}", warning=True))
        if is_sampled:
            n_left -= len(pairs)
            check_alignment(shard.name, 1, pairs, data, notify)
            counts.pairs += len(pairs)
            counts.blank += opened.counts.blank
            counts.invalid_utf8 += opened.counts.invalid_utf8
            counts.notes += [note for note in opened.counts.notes if note not in counts.notes]
            yield from pairs


def check_alignment(
    shard: str, first: int, pairs: Sequence[Pair], data: DataConfig, notify: Callable[[Notice], None]
) -> None:
    """Find out whether neighbouring pairs of a shard match.

    Args:
        shard: its name.
        first: number of the first pair in the shard, from 1.
        pairs: neighbours, blank ones among them.
        data: languages, and what to do with alarms.
        notify: called with the alarm if training should go on.

    Raises:
        UserError: they do not match, and ``data.alarms`` is ``refuse`` (65).
    """
    places = [i for i, pair in enumerate(pairs) if not is_blank(pair.src) and not is_blank(pair.tgt)]
    lengths = [[len(pairs[i][side].encode("utf-8", "surrogatepass")) for i in places] for side in (0, 1)]
    found = find_misalignment(lengths[0], lengths[1])
    if found is None:
        return
    what = describe_misalignment(shard, parse_langs(data.langs), first + places[found.start], found.lag)
    if data.alarms == "refuse":
        mend = "look for missing lines, added lines or another order; `data.alarms=warn` trains anyway"
        raise UserError(what, mend=mend)
    notify(Notice(what, warning=True))

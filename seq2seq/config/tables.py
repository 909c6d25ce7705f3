"""The tables of ``config.toml``: configuration keys with their types, ranges, defaults and meanings.

All defaults are here and nowhere else. ``seq2seq config`` prints the docstrings of keys.
"""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from seq2seq.config.model import CnnConfig, ModelConfig, RnnConfig
from seq2seq.config.records import NotNegative
from seq2seq.config.types import CHECKED, MAX_COUNT, Fraction, Positive, PositiveInt, Text
from seq2seq.errors import ExitCode, UserError


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DataConfig:
    """Training text, and how it is divided into tokens."""

    langs: Text = ""
    """Source and target language, such as ``de-en``, or ``pt-BR:en`` if a code contains a hyphen."""
    train: tuple[Text, ...] = ()
    """Corpora to train on, each a prefix, a file, or hf:NAME."""
    valid: tuple[Text, ...] = ()
    """Corpora to validate on, written as those of ``train``. Not given: the validation split of the data set if it
    has one, else pairs held out from training. An empty list: pairs are held out."""
    streaming: StrictBool = False
    """Whether the corpora of ``train`` are read again and again while training, and never stored: for text that is
    larger than the disk. Their files (shards) are read in an order drawn by the seed, eight in turns. A corpus written
    as ``CORPUS?streaming`` sets it. Such a run ends after max_updates or time_budget."""
    weights: tuple[Positive, ...] = ()
    """How often each corpus of ``train`` gives a pair of a stream, in the same order: any positive numbers. A corpus
    that has ended is read again. Not given: the shards of all corpora together are read once in each epoch."""
    stream_sample: Annotated[StrictInt, Field(ge=2)] = 100_000
    """Pairs of a stream that are read before training: the tokenizer is trained on them, some of them are held out for
    validation, and alarms, lengths and copies are found in them. They are the first pairs of up to 32 shards of each
    corpus. The default is as many as the tokenizer is trained on (``tokenizer_sample``)."""
    bad_shards: Literal["refuse", "skip"] = "refuse"
    """What to do with a shard of a stream that is missing, cut short or cannot be read. refuse: stop and name it; skip:
    skip the rest of it, and count it."""
    encoding_errors: Literal["refuse", "replace", "strict"] = "refuse"
    """What to do with lines that are not UTF-8. refuse: refuse a file with more than 1 in 100 of them, else replace the
    invalid bytes; replace: always replace the invalid bytes; strict: refuse any such line. Lines with replaced bytes
    are counted."""
    tokenizer: Annotated[Text, Field(min_length=1)] | None = None
    """Path of the SentencePiece model to use. Unset: a new one is trained."""
    tokenizer_type: Literal["unigram", "bpe"] = "unigram"
    """Subword algorithm: a unigram language model, or byte-pair encoding (bpe)."""
    normalization: Literal["nfc", "nfkc", "identity"] = "nfc"
    """Unicode normalization of all text, source and target. nfc: compose characters, replace Latin ligatures and Arabic
    presentation forms by letters, and several spaces by one; nfkc: SentencePiece's ``nmt_nfkc``, which replaces many
    more characters; identity: do not change text. A model never outputs what normalization replaces."""
    vocab_size: Annotated[StrictInt, Field(ge=300, le=MAX_COUNT)] = 8000
    """Number of pieces of the joint vocabulary, 256 bytes included; ids reserved for language tags are added to it. It
    is lowered with a notice if the corpus is too small, and raised if no number was given and the text has more
    characters."""
    tokenizer_sample: Annotated[StrictInt, Field(ge=2)] = 200_000
    """Max lines that the tokenizer is trained on: half of them from each side, spread evenly over the corpora."""
    subword_sampling: Annotated[float, Field(ge=0.0, le=1.0, strict=True)] = 0.0
    """Subword regularization: training text is divided into pieces at random each time it is read. The value is
    SentencePiece's alpha. unigram: the probability of a division is raised to this power (0.5 varies little, 0.1 very
    much); bpe: the probability that a merge is left out (BPE-dropout). 0: off."""
    alarms: Literal["refuse", "warn"] = "refuse"
    """What to do if the lengths of lines show that lines and translations do not match (misaligned corpus). refuse:
    stop before training; warn: report it, then train."""
    leaks: Literal["drop", "keep"] = "drop"
    """What to do with training pairs whose source is also a validation source. drop: drop and count them, unless fewer
    than half of the pairs would remain; keep: keep and count them."""
    max_length: Annotated[StrictInt, Field(ge=2)] = 256
    """Max length of each side of a training pair in tokens, EOS included. Longer pairs are dropped and counted."""


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class TrainingConfig:
    """How the model is trained."""

    batch_tokens: PositiveInt = 4096
    """Max target tokens of an update (optimizer step), padding not counted. With ``data.subword_sampling`` an update
    may have slightly more."""
    micro_batch_tokens: PositiveInt | None = None
    """Max padded tokens of each side in one forward pass. Gradients of a larger update are accumulated over several
    passes. Unset: 3,072 on a CPU, 16,384 on a GPU, and 32,768 on a GPU with 32 GiB or more."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW, reached at the end of the warm-up."""
    schedule: Literal["inverse_sqrt", "hold_cooldown"] = "hold_cooldown"
    """Learning rate after the warm-up. inverse_sqrt: falls with the inverse square root of the number of updates;
    hold_cooldown: stays at its peak, then falls to zero."""
    warmup_updates: Annotated[StrictInt, Field(ge=0)] = 1000
    """Number of updates in which the learning rate rises from zero to its peak."""
    cooldown: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 0.5
    """Fraction of all updates in which ``hold_cooldown`` lowers the learning rate to zero."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Decay rates of AdamW for the first and second moment of the gradient."""
    weight_decay: NotNegative = 0.01
    """Weight decay of AdamW: each update shrinks the weights by this fraction times the learning rate. 0: off."""
    clip_norm: NotNegative = 1.0
    """Max L2 norm of the gradient over all weights. A larger gradient is scaled down to it. 0: off."""
    label_smoothing: Fraction = 0.1
    """Label smoothing: fraction of the target probability that the loss spreads evenly over the vocabulary. 0: off."""
    r_drop: NotNegative = 0.0
    """Weight of R-Drop in the loss. With it each pair goes through the model twice with different dropout, and the loss
    includes the divergence of the two outputs. An update takes twice as long. 0, or without ``model.dropout``: off."""
    averaging: Literal["ema", "last", "none"] = "ema"
    """Averaging of the weights for validation and translation. ema: exponential moving average; last: mean of the
    weights at the last ``average_last`` validations; none: the weights as trained."""
    ema_decay: Fraction = 0.999
    """Decay of the exponential moving average at each update, after its warm-up (``averaging = "ema"``)."""
    average_last: PositiveInt = 5
    """Number of validations that are averaged (``averaging = "last"``)."""
    max_updates: PositiveInt | None = None
    """Stop after this many updates. Unset: max_epochs, time_budget or the recipe decides."""
    max_epochs: PositiveInt | None = None
    """Stop after this many epochs (passes over the corpus)."""
    time_budget: Annotated[float, Field(gt=0.0, le=1e9, strict=True)] | None = None
    """Time limit of the whole run in seconds, from reading the corpus to the last save. The number of updates is
    computed from the measured speed. It replaces max_updates and max_epochs."""
    patience: Annotated[StrictInt, Field(ge=0)] = 0
    """Early stopping: stop after this many validations without a new best result. 0: off."""
    best_metric: Literal["bleu", "chrf", "loss"] | None = None
    """Validation metric that decides which weights are the best; ``patience`` also uses it. On a tie chrF decides, then
    the loss. BLEU without any correct 4-gram counts as 0. Unset: bleu, or chrf if BLEU says little about the validation
    targets."""
    report_every: PositiveInt = 50
    """Number of updates between reports."""
    valid_every: PositiveInt | None = None
    """Number of updates between validations. Unset: about one validation in each epoch; with a time budget 2 to 20 in
    all."""
    save_every: PositiveInt | None = None
    """Number of updates between checkpoints. Unset: as valid_every."""
    keep_checkpoints: Annotated[StrictInt, Field(ge=0)] = 2
    """Number of checkpoints kept during training, at least one; a finished run keeps one. 0: a finished run keeps none,
    and cannot be trained further."""
    samples: Annotated[StrictInt, Field(ge=0)] = 2
    """Number of sample translations shown at each validation."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 1
    """Random seed for the initial weights, the order of pairs, dropout and subword sampling."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of matrix products; on a GPU, and for fp16 everywhere, of all that passes through the model. auto: bf16
    on a CUDA GPU that supports it, fp16 on an older one with matrix units for it (V100, T4), bf16 on kinds of CPUs for
    which training was measured to be at least a quarter faster with it; otherwise fp32."""
    products: Literal["auto", "mkl", "onednn"] = "auto"
    """Library of matrix products on a CPU. auto: the one that was measured to be fastest on this kind of processor;
    mkl: PyTorch's default, in fp32 unless precision is bf16; onednn: oneDNN, which bf16 always uses."""
    compile: StrictBool = False
    """Whether to compile the model with torch.compile. This is useful only on CUDA."""


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DecodingConfig:
    """How translations are searched (beam search)."""

    beam_size: Annotated[StrictInt, Field(ge=1, le=256)] = 4
    """Number of hypotheses kept at each step of beam search. 1: greedy search."""
    length_penalty: Annotated[float, Field(ge=0.0, le=10.0, strict=True)] | None = None
    """Exponent alpha of score = log-probability / length^alpha. A higher value makes translations longer. Unset:
    ``train`` chooses it on validation data."""
    n_best: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    """Number of translations returned for each sentence, best first. At most beam_size."""
    stopping: Literal["enough", "exact"] = "enough"
    """When the search for a sentence ends. enough: when enough hypotheses are finished, as in CTranslate2 (but not
    while an unfinished one is ten times likelier than all of them); exact: when no unfinished one could still become
    one of the n best."""
    repetition_guard: StrictBool = True
    """Whether a translation that repeats itself gives way: if pieces stand three times in a row, and not in the source,
    the next best hypothesis without such a loop is the best one. Greedy search has only one hypothesis."""
    max_length: PositiveInt | None = None
    """Max length of a translation in tokens. Unset: twice the length of the source plus 50."""
    batch_tokens: PositiveInt | None = None
    """Max padded source tokens that a worker decodes at once. A longer sentence is decoded by itself. Unset: depends on
    the device, its memory and the number of beams."""
    shortlist: Annotated[StrictInt, Field(ge=0, le=64)] = 0
    """Lexical shortlist: allow only this many likely target pieces for each source piece, and the most frequent pieces.
    It is faster, but some translations differ. Training makes the table for it only if this key is not 0. 0: off."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Precision of translation. auto: bf16 on a CUDA GPU that supports it, fp16 on an older one with matrix units for
    it (V100, T4), otherwise fp32. On a CPU bf16 needs bf16 instructions, and fp16 is slow. int8 needs the engine
    ctranslate2 of ``translate``."""
    products: Literal["auto", "mkl", "onednn"] = "auto"
    """Library of fp32 matrix products on a CPU. auto: the one that was measured to be fastest on this kind of
    processor; mkl: PyTorch's default; onednn: oneDNN."""

    @property
    def alpha(self) -> float:
        """The exponent in use: 1 until ``train`` has chosen one."""
        return 1.0 if self.length_penalty is None else self.length_penalty

    def __post_init__(self) -> None:
        if self.n_best > self.beam_size:
            raise UserError(
                f"decoding.n_best {self.n_best} is more than decoding.beam_size {self.beam_size}",
                mend=f"raise `decoding.beam_size` to {self.n_best}",
                code=ExitCode.REFUSED,
            )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RunConfig:
    """The whole configuration of a run: all tables of ``config.toml``."""

    preset: str = "auto"
    """Size of the model, and settings of training that suit it. auto: a recipe that depends on the size of the corpus,
    the kind of device and the time budget."""
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        if self.model.learns_positions and self.model.max_positions < self.data.max_length:
            raise UserError(
                f"model.max_positions {self.model.max_positions} is less than data.max_length {self.data.max_length}",
                mend="learned positions need a vector for each token: raise the first or lower the second",
                code=ExitCode.REFUSED,
            )

    @property
    def n_forward_passes(self) -> int:
        """Forward passes of each pair in training: 2 with R-Drop. Without dropout 1, as both would be equal."""
        return 2 if self.training.r_drop and self.model.dropout else 1


TABLES = {
    "data": DataConfig,
    "model": ModelConfig,
    "model.rnn": RnnConfig,
    "model.cnn": CnnConfig,
    "training": TrainingConfig,
    "decoding": DecodingConfig,
}
"""The tables of the configuration, by name. A table may contain another one."""

"""Configuration keys with their types, ranges, defaults and meanings: the tables of ``config.toml``.

Defaults are written here and nowhere else.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from seq2seq.config.records import NotNegative
from seq2seq.errors import ExitCode, UserError

# Unknown keys are errors. No user means NaN.
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


def _writable(text: str) -> str:
    """Refuse a path that no file can have, or whose bytes are not UTF-8: it could not be kept in ``config.toml``."""
    if "\0" in text:
        raise ValueError("a name cannot hold NUL")
    if any("\ud800" <= c <= "\udfff" for c in text):  # how Python represents such bytes
        raise ValueError("not UTF-8, and TOML holds only UTF-8: rename it")
    return text


# Strict, as TOML has types: `true` and "1" are not numbers.
MAX_COUNT = 2**31 - 1
"""Largest integer that every library can hold."""
PositiveInt = Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]
Positive = Annotated[float, Field(gt=0.0, strict=True)]
Text = Annotated[str, AfterValidator(_writable)]


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DataConfig:
    """Text to train on, and how it becomes tokens."""

    langs: Text = ""
    """Source and target language, as in ``de-en``; ``pt-BR:en`` if a code holds a hyphen."""
    train: tuple[Text, ...] = ()
    """Corpora to train on, each a prefix, a file, or hf:NAME."""
    valid: tuple[Text, ...] = ()
    """Corpora to validate on, named as those of ``train``. Not given: a data set's own validation split if it
    has one, else pairs are held out. An empty list: pairs are held out."""
    encoding_errors: Literal["refuse", "replace", "strict"] = "refuse"
    """Lines that are not UTF-8. refuse: a file with more than 1 in 100 of them is refused, in other files their bytes
    are replaced; replace: bytes are replaced in any number of lines; strict: any such line is refused. Replacements are
    counted."""
    tokenizer: Annotated[Text, Field(min_length=1)] | None = None
    """Path of a SentencePiece model to use. Unset: one is trained."""
    tokenizer_type: Literal["unigram", "bpe"] = "unigram"
    """Subword algorithm: a unigram language model, or byte-pair encoding (bpe)."""
    normalization: Literal["nfc", "nfkc", "identity"] = "nfc"
    """Unicode normalization of all text, source and target. nfc: composes characters, spells out Latin ligatures and
    Arabic presentation forms, and makes several spaces one; nfkc: SentencePiece's ``nmt_nfkc``, which replaces many
    more characters; identity: leaves text as it is. A model never writes what
    normalization replaces."""
    vocab_size: Annotated[StrictInt, Field(ge=300, le=MAX_COUNT)] = 8000
    """Pieces of the joint vocabulary, 256 bytes among them; ids reserved for language tags are added to it. Lowered
    with a notice if the corpus is too small; raised if the text has more characters and no number was given."""
    tokenizer_sample: Annotated[StrictInt, Field(ge=2)] = 200_000
    """Max lines that the tokenizer is trained on, drawn evenly from both sides."""
    subword_sampling: Annotated[float, Field(ge=0.0, le=1.0, strict=True)] = 0.0
    """Subword regularization: training text is divided into other pieces each time it is read. The value is
    SentencePiece's alpha. unigram: the power that a division's probability is raised to (0.5 varies little, 0.1 very
    much); bpe: the probability that a merge is left out (BPE-dropout). 0: off."""
    alarms: Literal["refuse", "warn"] = "refuse"
    """What to do if the lengths of lines show that they do not match their translations. refuse: stop before training;
    warn: report it, then train."""
    leaks: Literal["drop", "keep"] = "drop"
    """Training pairs whose source is also in the validation pairs. drop: they are dropped and counted (but kept if
    fewer than half of the pairs would remain); keep: they are kept and counted."""
    max_length: Annotated[StrictInt, Field(ge=2)] = 256
    """Max length of either side of a training pair, in tokens, EOS included; longer pairs are dropped and counted."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class ModelConfig:
    """The shape of the encoder-decoder Transformer."""

    architecture: Literal["transformer"] = "transformer"
    """Kind of network. There is one so far: the encoder-decoder Transformer."""
    d_model: PositiveInt = 256
    """Width of embeddings and layers. Must be divisible by n_heads."""
    d_ff: PositiveInt = 1024
    """Width of the feed-forward network's hidden layer."""
    n_heads: PositiveInt = 4
    """Attention heads of each layer; must divide d_model."""
    encoder_layers: PositiveInt = 3
    """Layers of the encoder, which reads the source."""
    decoder_layers: PositiveInt = 3
    """Layers of the decoder, which writes the translation."""
    dropout: Fraction = 0.1
    """Probability that training sets an activation to zero, after the embeddings and after each sublayer. More of it
    reduces overfitting. 0: off."""
    attention: Literal["scaled_dot", "dot", "bilinear"] = "scaled_dot"
    """Attention score of a query and a key. scaled_dot: dot product, divided by the root of a head's width; dot: dot
    product; bilinear: with a learned matrix between the two."""
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """Position encoding. sinusoidal: fixed sines and cosines are added to the embeddings; learned: a learned vector for
    each position is added; rotary: queries and keys are rotated by their position; none: the model does not see the
    order of tokens."""
    max_positions: PositiveInt = 1024
    """Number of learned positions (``positions = "learned"``): the longest sentence in tokens. Other kinds of positions
    have no limit."""
    norm_order: Literal["pre", "post"] = "pre"
    """Normalize a sublayer's input (pre), or the sum of its input and output (post)."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalization: LayerNorm (layer) or RMSNorm (rms)."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Nonlinearity of the feed-forward network."""
    tied_embeddings: StrictBool = True
    """Use one matrix for source, target and output embeddings."""

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise UserError(
                f"model.d_model {self.d_model} is not divisible by model.n_heads {self.n_heads}",
                mend=f"choose n_heads among the divisors of {self.d_model}",
                code=ExitCode.REFUSED,
            )
        if self.positions == "rotary" and (self.d_model // self.n_heads) % 2:
            raise UserError(
                f"model.positions rotary rotates pairs of channels, but a head is {self.d_model // self.n_heads} wide",
                mend="choose model.d_model and model.n_heads so that d_model / n_heads is even",
                code=ExitCode.REFUSED,
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise UserError(
                f"model.positions sinusoidal needs an even model.d_model, not {self.d_model}",
                mend="choose an even width",
                code=ExitCode.REFUSED,
            )


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class TrainingConfig:
    """How the model is trained."""

    batch_tokens: PositiveInt = 4096
    """Target tokens of an update (optimizer step), padding not counted. With ``data.subword_sampling`` an update may
    hold somewhat more."""
    micro_batch_tokens: PositiveInt | None = None
    """Max padded tokens of one side in one forward pass; an update that holds more is accumulated over several passes.
    Unset: 3,072 on a CPU, 16,384 on a GPU, and 32,768 on a GPU with 32 GiB or more."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW, reached at the end of the warm-up."""
    schedule: Literal["inverse_sqrt", "hold_cooldown"] = "hold_cooldown"
    """Learning rate after the warm-up. inverse_sqrt: falls with the inverse square root of the update; hold_cooldown:
    stays at its peak, then falls to zero."""
    warmup_updates: Annotated[StrictInt, Field(ge=0)] = 1000
    """Updates over which the learning rate rises from zero to its peak."""
    cooldown: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 0.5
    """Fraction of all updates over which ``hold_cooldown`` lowers the learning rate to zero."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """AdamW's decay rates of the first and second moment of the gradient."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay: each update shrinks the weights by this fraction times the learning rate. 0: off."""
    clip_norm: NotNegative = 1.0
    """Max L2 norm of the gradient over all weights; a larger gradient is scaled down. 0: off."""
    label_smoothing: Fraction = 0.1
    """Fraction of the target probability that the loss spreads evenly over the vocabulary. 0: off."""
    r_drop: NotNegative = 0.0
    """Weight of R-Drop in the loss: each pair goes through the model twice with different dropout, and the divergence
    of the two outputs is part of the loss. An update takes twice as long. 0, or without ``model.dropout``: off."""
    averaging: Literal["ema", "last", "none"] = "ema"
    """Weights that validation and translation use. ema: their exponential moving average; last: the mean of the last
    ``average_last`` validations; none: as trained."""
    ema_decay: Fraction = 0.999
    """Decay of the exponential moving average at each update, once warmed up (``averaging = "ema"``)."""
    average_last: PositiveInt = 5
    """Validations that are averaged (``averaging = "last"``)."""
    max_updates: PositiveInt | None = None
    """Stop after this many updates. Unset: max_epochs, time_budget or the recipe decide."""
    max_epochs: PositiveInt | None = None
    """Stop after this many passes over the corpus."""
    time_budget: Annotated[float, Field(gt=0.0, le=1e9, strict=True)] | None = None
    """Time limit of the whole run in seconds, from reading the corpus to the last save. The measured speed decides how
    many updates that makes. Used in place of max_updates and max_epochs."""
    patience: Annotated[StrictInt, Field(ge=0)] = 0
    """Early stopping: stop after this many validations without a new best. 0: off."""
    best_metric: Literal["bleu", "chrf", "loss"] | None = None
    """Validation metric that decides which weights are the best; patience counts by it too. On a tie chrF decides, then
    the loss. BLEU without one correct 4-gram counts as 0. Unset: bleu, or chrf if BLEU says little about the validation
    targets."""
    report_every: PositiveInt = 50
    """Updates between reports."""
    valid_every: PositiveInt | None = None
    """Updates between validations. Unset: about once an epoch; with a time budget 2 to 20 in all."""
    save_every: PositiveInt | None = None
    """Updates between checkpoints. Unset: as valid_every."""
    keep_checkpoints: Annotated[StrictInt, Field(ge=0)] = 2
    """Checkpoints kept while training, at least one; a finished run keeps one. 0: a finished run keeps none, and cannot
    be trained further."""
    samples: Annotated[StrictInt, Field(ge=0)] = 2
    """Sample translations shown at each validation."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 1
    """Random seed of the initial weights, the order of pairs, dropout and subword sampling."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of matrix products. auto: bf16 on a CUDA GPU that has it, and on a CPU where training was measured to
    be at least a quarter faster with it; fp32 elsewhere."""
    products: Literal["auto", "mkl", "onednn"] = "auto"
    """Library of matrix products on a CPU. auto: the one that was measured to be quickest on processors of this kind;
    mkl: PyTorch's default, in fp32 unless precision is bf16; onednn: oneDNN, which bf16 always uses."""
    compile: StrictBool = False
    """Compile the model with torch.compile. Useful only on CUDA."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DecodingConfig:
    """How translations are found (beam search)."""

    beam_size: Annotated[StrictInt, Field(ge=1, le=256)] = 4
    """Hypotheses kept at each step of the search; 1 is greedy search."""
    length_penalty: Annotated[float, Field(ge=0.0, le=10.0, strict=True)] | None = None
    """Exponent alpha of score = log-probability / length^alpha: more makes translations longer. Unset: ``train``
    chooses it on validation data."""
    n_best: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    """Translations returned for each sentence, best first; not more than beam_size."""
    stopping: Literal["enough", "exact"] = "enough"
    """When the search for a sentence ends. enough: with enough finished hypotheses, as in CTranslate2 (but not while an
    unfinished one is ten times likelier than all of them); exact: when no unfinished one could still be among the n
    best."""
    max_length: PositiveInt | None = None
    """Max length of a translation in tokens. Unset: twice the source and 50 more."""
    batch_tokens: PositiveInt | None = None
    """Max padded source tokens that a worker decodes at once; a longer sentence is decoded by itself. Unset: chosen by
    the device, its memory and the number of beams."""
    shortlist: Annotated[StrictInt, Field(ge=0, le=64)] = 0
    """Restricts the output vocabulary to the likeliest target pieces of each source piece, this many for each, and the
    most frequent pieces (a lexical shortlist). Faster, but some translations differ. Training learns the table for it
    only if it is not 0. 0: off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of translation. auto: bf16 on a CUDA GPU that has it, fp32 elsewhere. bf16 on a CPU needs one that has
    it."""
    products: Literal["auto", "mkl", "onednn"] = "auto"
    """Library of fp32 matrix products on a CPU. auto: the one that was measured to be quickest on processors of this
    kind; mkl: PyTorch's default; onednn: oneDNN."""

    @property
    def alpha(self) -> float:
        """The length penalty in force: 1 until ``train`` has chosen."""
        return 1.0 if self.length_penalty is None else self.length_penalty

    def __post_init__(self) -> None:
        if self.n_best > self.beam_size:
            raise UserError(
                f"decoding.n_best {self.n_best} is more than decoding.beam_size {self.beam_size}",
                mend=f"raise `decoding.beam_size` to {self.n_best}",
                code=ExitCode.REFUSED,
            )


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class RunConfig:
    """The whole configuration of a run: the tables of ``config.toml``."""

    preset: str = "auto"
    """Size of the model, and training that suits it. auto: a recipe, chosen by the size of the corpus, the kind of
    device and the time budget."""
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        if self.model.positions == "learned" and self.model.max_positions < self.data.max_length:
            raise UserError(
                f"model.max_positions {self.model.max_positions} is less than data.max_length {self.data.max_length}",
                mend="learned positions need a vector for every token: raise the first or lower the second",
                code=ExitCode.REFUSED,
            )

    @property
    def n_forward_passes(self) -> int:
        """Forward passes of each pair in training: 2 with R-Drop. Without dropout both would be equal, so it is 1."""
        return 2 if self.training.r_drop and self.model.dropout else 1


TABLES = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "decoding": DecodingConfig}
"""The tables of the configuration, by name."""

"""Every setting with its type, range, default and meaning: the tables of ``config.toml``.

Every default stands here and nowhere else.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from seq2seq.errors import ExitCode, UserError

# Unknown keys are errors, and NaN is no number a user can mean.
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


def _writable(text: str) -> str:
    """Refuse a path that no file can have, or whose bytes are not UTF-8: it could not be kept in ``config.toml``."""
    if "\0" in text:
        raise ValueError("a name cannot hold NUL")
    if any("\ud800" <= c <= "\udfff" for c in text):  # how Python spells such bytes
        raise ValueError("not UTF-8, and TOML holds only UTF-8: rename it")
    return text


# Strict, as TOML has types of its own: `true` and "1" are no numbers.
MAX_COUNT = 2**31 - 1
"""Largest number that every library can hold."""
Count = Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)]
Share = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]
NotNegative = Annotated[float, Field(ge=0.0, strict=True)]
Positive = Annotated[float, Field(gt=0.0, strict=True)]
Text = Annotated[str, AfterValidator(_writable)]


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DataConfig:
    """Text to train on, and how it becomes tokens."""

    langs: Text = ""
    """Source and target language, as ``de-en``; ``pt-BR:en`` if a code holds a hyphen."""
    train: tuple[Text, ...] = ()
    """Corpora to train on, each a word as ``--train`` takes it."""
    valid: tuple[Text, ...] = ()
    """Corpora to validate on, each a word as ``--valid`` takes it. Not given: a data set's own validation split if it
    has one, else pairs are held out. An empty list: pairs are held out."""
    encoding_errors: Literal["refuse", "replace", "strict"] = "refuse"
    """Lines that are not UTF-8. refuse: a file with more than 1 in 100 of them is refused, in other files their bytes
    are replaced; replace: bytes are replaced in any number of lines; strict: any such line is refused. Replacements are
    counted."""
    tokenizer: Annotated[Text, Field(min_length=1)] | None = None
    """Path of a SentencePiece model to use. Unset: one is trained."""
    tokenizer_type: Literal["unigram", "bpe"] = "unigram"
    """Algorithm that divides words into pieces: a unigram language model, or byte-pair encoding (bpe)."""
    normalization: Literal["nfc", "nfkc", "identity"] = "nfc"
    """Unicode normalization of all text, source and target. nfc: composes characters, spells out Latin ligatures and
    Arabic presentation forms, and makes several spaces one; nfkc: SentencePiece's ``nmt_nfkc``, which replaces many
    more characters; identity: leaves text as it is. What it replaces does not come back in translations."""
    vocab_size: Annotated[StrictInt, Field(ge=300, le=MAX_COUNT)] = 8000
    """Pieces of the joint vocabulary, 256 bytes among them; ids reserved for language tags are added to it. Lowered
    with a notice if the corpus is too small; raised if the text has more characters and no number was given."""
    tokenizer_sample: Annotated[StrictInt, Field(ge=2)] = 200_000
    """Max lines that the tokenizer is trained on, drawn evenly from both sides."""
    subword_sampling: Annotated[float, Field(ge=0.0, le=1.0, strict=True)] = 0.0
    """Divides training text into other pieces each time it is read (subword regularization, BPE-dropout); the value is
    SentencePiece's alpha. unigram: the power that a division's probability is raised to (0.5 varies little, 0.1 very
    much); bpe: the share of merges left out. 0: always the likeliest division."""
    alarms: Literal["refuse", "warn"] = "refuse"
    """What to do with a corpus whose lines do not match their translations, as the lengths of both show. refuse: stop
    before training; warn: report it, then train."""
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
    d_model: Count = 256
    """Width of embeddings and layers. Must be divisible by n_heads."""
    d_ff: Count = 1024
    """Width of the feed-forward network's hidden layer."""
    n_heads: Count = 4
    """Attention heads of each layer; must divide d_model."""
    encoder_layers: Count = 3
    """Layers of the encoder, which reads the source."""
    decoder_layers: Count = 3
    """Layers of the decoder, which writes the translation."""
    dropout: Share = 0.1
    """Share of activations set to zero while training, after the embeddings and after each sublayer. More of it helps
    against overfitting. 0: off."""
    attention: Literal["scaled_dot", "dot", "bilinear"] = "scaled_dot"
    """How a query is scored against a key. scaled_dot: dot product, divided by the root of a head's width; dot: dot
    product; bilinear: with a learned matrix between the two."""
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """How tokens know their position. sinusoidal: fixed sines and cosines are added; learned: a learned vector for each
    position is added; rotary: queries and keys are rotated by their position; none: not at all."""
    max_positions: Count = 1024
    """Positions that ``positions = "learned"`` has vectors for: its longest sentence in tokens. The other kinds have no
    limit."""
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
                f"model.positions rotary turns pairs of channels, but a head is {self.d_model // self.n_heads} wide",
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

    batch_tokens: Count = 4096
    """Target tokens in an update (optimizer step), padding not counted; somewhat more if ``data.subword_sampling``
    makes more."""
    micro_batch_tokens: Count | None = None
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
    """Share of all updates over which ``hold_cooldown`` lowers the learning rate to zero."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    """AdamW's decay rates of the first and second moment of the gradient."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay: each update shrinks the weights by this share times the learning rate. 0: off."""
    clip_norm: NotNegative = 1.0
    """Max L2 norm of the gradient over all weights; a larger gradient is scaled down. 0: off."""
    label_smoothing: Share = 0.1
    """Share of the target probability that the loss spreads evenly over the vocabulary. 0: off."""
    r_drop: NotNegative = 0.0
    """Weight of R-Drop in the loss: each pair is read under two dropout masks at once, and the divergence of the two
    outputs is part of the loss. An update takes twice as long. 0, or without ``model.dropout``: off."""
    averaging: Literal["ema", "last", "none"] = "ema"
    """Weights that validation and translation use. ema: their exponential moving average; last: the mean of the last
    ``average_last`` validations; none: as trained."""
    ema_decay: Share = 0.999
    """Share of the moving average kept at each update, once warmed up (``averaging = "ema"``)."""
    average_last: Count = 5
    """Validations that are averaged (``averaging = "last"``)."""
    max_updates: Count | None = None
    """Stop after this many updates. Unset: as many as max_epochs, time_budget or the recipe make."""
    max_epochs: Count | None = None
    """Stop after this many passes over the corpus."""
    time_budget: Annotated[float, Field(gt=0.0, le=1e9, strict=True)] | None = None
    """Seconds that the whole run may take, from reading the corpus to the last save; the measured speed decides how
    many updates that makes. In place of max_updates and max_epochs."""
    patience: Annotated[StrictInt, Field(ge=0)] = 0
    """Stop after this many validations without a new best. 0: never stop early."""
    best_metric: Literal["bleu", "chrf", "loss"] | None = None
    """Validation metric by which the best weights are kept, and by which patience counts; chrF decides on a tie, then
    the loss. BLEU without one correct 4-gram counts as 0. Unset: bleu, or chrf if BLEU says little about the validation
    targets."""
    report_every: Count = 50
    """Updates between reports."""
    valid_every: Count | None = None
    """Updates between validations. Unset: about once an epoch; with a time budget 2 to 20 in all."""
    save_every: Count | None = None
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
    """Pass the model through torch.compile; useful only on CUDA."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DecodingConfig:
    """How translations are searched for (beam search)."""

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
    max_length: Count | None = None
    """Max length of a translation in tokens. Unset: twice the source and 50 more."""
    batch_tokens: Count | None = None
    """Max padded source tokens that a worker decodes at once; a longer sentence is decoded by itself. Unset: chosen by
    the device, its memory and the number of beams."""
    shortlist: Annotated[StrictInt, Field(ge=0, le=64)] = 0
    """Likeliest translations of each source piece that a translation may be made of, beside the most frequent pieces.
    Faster, but some translations differ. Training learns the table of them only if it is not 0. 0: all pieces."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of translating. auto: bf16 on a CUDA GPU that has it, fp32 elsewhere. bf16 on a CPU needs one that has
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
                mend=f"raise decoding.beam_size (-b) to {self.n_best}",
                code=ExitCode.REFUSED,
            )


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class RunConfig:
    """The whole configuration of a run: the tables of ``config.toml``."""

    preset: str = "auto"
    """Named starting point: the size of the model and the training that suits it. auto: a recipe, chosen
    by the size of the corpus, the kind of device and the time budget."""
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        if self.model.positions == "learned" and self.model.max_positions < self.data.max_length:
            raise UserError(
                f"model.max_positions {self.model.max_positions} is less than data.max_length {self.data.max_length}",
                mend="learned positions need a row for every token: raise the one or lower the other",
                code=ExitCode.REFUSED,
            )

    @property
    def n_forward_passes(self) -> int:
        """Forward passes of each pair in training: two with R-Drop, unless there is no dropout to differ in."""
        return 2 if self.training.r_drop and self.model.dropout else 1


TABLES = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "decoding": DecodingConfig}
"""By name."""

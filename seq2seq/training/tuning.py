"""Tuning numbers of training: set by measurement or by experience.

Each names the section of ``docs/lab-notes.md`` with its measurement, or says that it was not measured. Numbers that
decide what a run trains are in ``recipe.py``.
"""

from typing import Final

# One update (step.py, loss.py, loader.py, parallel/) --------------------------------------------------

MICRO_BATCH_TOKENS: Final = {"cpu": 3072, "small GPU": 16_384, "GPU": 32_768}
"""Max padded tokens of a forward pass. On a CPU the activations should still be in the cache in the backward pass; on a
GPU a pass should take longer than the launch of its kernels. Lab notes, "Training" and "On a GPU"."""
SMALL_GPU: Final = 32 << 30
"""Bytes: a GPU with less memory is a small one. Not measured."""
MIN_PADDING_SAVED: Final = 100
"""Padded tokens that another forward pass on a CPU must save. Only subword sampling makes so much padding, because its
pairs are grouped by their stored lengths. Lab notes, "Subword sampling that follows the seed"."""
LOSS_ROWS: Final = {True: 256, False: 8192}
"""Positions whose logits are computed at once, on a CPU and elsewhere: enough for fast products. On a CPU they should
stay in the cache; lab notes, "Training". Elsewhere it bounds memory: not measured."""
SAFE_EXPONENT: Final = 60.0
"""exp of numbers up to this one, and sums of these, neither overflow nor lose precision in fp32. Arithmetic."""
NORM_BLOCK: Final = 1 << 16
"""Values whose squares a CPU adds in turn for the norm of the gradient. Of 60 million random values one sum lost 0.5%,
these blocks 0.00002%, in 1.3 times the time; blocks of 4,096 took five times as long."""
MEAN_LOSS_SCALE: Final = 2.0**16
"""The first loss scale in fp16, if the loss were a mean over the tokens of an update: PyTorch's own default."""
UPDATES_TO_DOUBLE: Final = 2000
"""Updates without overflow until the loss scale is doubled: PyTorch's own default."""
MAX_HALVINGS: Final = 24
"""From the first loss scale, until an overflow counts as divergence. Not measured."""
MIN_PAIRS_DRAWN: Final = 1024
"""Pairs whose subwords are sampled in one call, which has a fixed cost. Lab notes, "Training" (waiting for the
loader)."""
UPDATES_AHEAD: Final = {"cpu": 0, "GPU": 2}
"""Updates that a thread reads ahead of training. A CPU has no idle core for it, and gains nothing. Lab notes, "Reading
ahead"."""
MIN_REPLICA_TOKENS: Final = 256
"""Target tokens of an update for each replica: with fewer the products are slow. Not measured alone; replicas: lab
notes, "Training"."""
SPIN_SECONDS: Final = 0.5
"""Time that a replica waits for a message without sleeping. Lab notes, "Training": if replicas sleep, nothing is
gained."""
ALIGNMENT: Final = 64
"""Bytes of a cache line, and of the widest vector instruction: matrices of a multiple of this size start at one."""

# Ranks (parallel/ranks.py, parallel/torchrun.py) ------------------------------------------------------

MAX_WAIT, MAX_WAIT_COMPILED = 50.0, 600.0
"""Seconds that a rank waits for the gradients of another one, which is slower or lost. A rank that was killed is
noticed at once; the wait is for a machine that vanished. ``torch.compile`` may take minutes at one rank alone. Not
measured."""
JOIN_SECONDS: Final = 55.0
"""Until all ranks have started, once torchrun has started them on all machines. Not measured."""
BEAT_SECONDS, MAX_SILENCE = 1.0, 25.0
"""Seconds between two heartbeats of a rank, and without one until it counts as lost: less than the 30 s after which
torchrun kills the others. Not measured."""

SEEN_SECONDS: Final = 30.0
"""Seconds until a new file must be visible to all ranks: a network file system may take a while. Not measured."""

# The expected speed (length.py) -----------------------------------------------------------------------

MATMUL_SHARE: Final = {"cpu": 0.4, "cuda": 0.2, "mps": 0.2}
"""Speed of training, as a share of the speed of a large matrix product; on a CPU, of one in fp32. Lab notes, "Training"
(0.28 to 0.6 there) and "On a GPU" (0.01 to 0.27)."""
BF16_SPEEDUP: Final = 1.4
"""Of training on a CPU. Lab notes, "Training", machine C (1.5 there)."""
MATMUL_ROUNDS: Final = 10
"""Products that are timed; the fastest counts, because other programs may use the machine. Not measured."""

# Cadences and notices (length.py, opening.py, trainer.py) ---------------------------------------------

MIN_VALID_EVERY, MAX_VALID_EVERY, MAX_VALIDATIONS = 100, 2000, 40
"""Updates between two validations, and validations of a run if that allows it. Not measured."""
SAVE_SECONDS: Final = 300.0
"""Time between checkpoints while the length of training is unknown. Not measured."""
MANY_PAIRS: Final = 100_000
"""With more pairs, a step that takes a while is announced. Lab notes, "Misaligned corpora, leaks, copies" (cost)."""
ROUGH_SHARE: Final = 1 / 6
"""Below this share of the usual epochs translations are rough. Lab notes, "The recipes as a whole"."""
LONG_RUN: Final = 6 * 3600.0
"""Seconds on a CPU above which alternatives are named. Not measured."""
SLOW_VALIDATION: Final = 0.2
"""A validation that takes more than this share of a time budget is reported. Not measured."""
MIN_CHANGE: Final = 0.1
"""Share by which the number of updates must change to be reported again. Not measured."""

# A time budget (budget.py, trainer.py) ----------------------------------------------------------------
# All of these: lab notes, "What a time budget gives" and "The recipes as a whole" show what they come to together.

FIRST_SET, SET_AGAIN = 0.02, 0.04
"""Shares of the budget: the time of updates before their number is first set, and the time until it is set again."""
MIN_TIMED: Final = 3
"""Updates that must be timed before their speed is used."""
WARM_UP_UPDATES: Final = 2
"""First updates that are not timed: they are slower than all others."""
SLOW_UPDATES: Final = 0.2
"""Share of the budget: if fewer updates have taken this much of it, their speed is used."""
VALIDATION_SHARE: Final = 0.05
"""Share of the remaining time for validations, if it allows more than two of them."""
BUDGET_VALIDATIONS: Final = 20
"""Max validations of a run with a time budget."""
FIRST_VALIDATION: Final = 0.2
"""Share of the updates before the first validation: until then the time of one is only estimated."""
SEARCH_SHARE: Final = 0.1
"""Share of the budget for choosing the length penalty: no more pairs are searched than fit."""
MAX_VALIDATION_SHARE: Final = 0.8
"""Share of the remaining time: if validations take more, all but the last are given up one by one."""
MAX_END_SHARE: Final = 0.5
"""Share of the budget that is kept for the end; validations that take longer than that break any budget."""
FINISH_SECONDS, FINISH_SECONDS_A_PAIR = 2.0, 1e-4
"""Estimated time to write the finished run, and to learn its shortlist, for each pair."""

# Validation (validation.py) ---------------------------------------------------------------------------

STOP_CHECK_SENTENCES: Final = {True: 256, False: 2048}
"""Sentences translated between two checks for a signal: on a CPU, and elsewhere. Not measured."""
LENGTH_BOUND: Final = 1.5, 10
"""The first search ends at this multiple of the reference's length, plus this number of tokens. Not measured."""
ENDLESS_SHARE: Final = 0.2
"""If the first search cuts off more than this share of the pairs, the model cannot end its translations yet. Not
measured."""
SAMPLE_PAIRS: Final = {True: 64, False: 512}
"""Pairs that show how long a search takes: on a CPU, and elsewhere. Not measured."""
LOSS_BATCH_TOKENS: Final = 2048
"""Padded target tokens of a batch for the validation loss. Not measured."""

# Preparation (prepare.py, overlap.py) -----------------------------------------------------------------

PREPARE_PAIRS: Final = 4096
"""Pairs that are read and tokenized at once: memory does not grow with the corpus. Lab notes, "Memory"."""
MAX_SAMPLED_SHARDS: Final = 32
"""Shards of a streamed corpus from which pairs are read before training. Not measured."""
COMPARED_HASHES: Final = 1 << 20
"""Hashes that are compared at once, for the same reason. Lab notes, "Misaligned corpora, leaks, copies"."""
MAX_HELD_OUT_BLOCK: Final = 20
"""Neighbouring pairs that are held out together. Not measured."""

# The shortlist (lexicon.py) ---------------------------------------------------------------------------

MAX_LEXICON_PAIRS: Final = 200_000
"""A lexicon is learned from up to this number of pairs, spread evenly over a larger corpus. Not measured."""
MAX_LINKS: Final = 1 << 26
"""Bounds memory, at 8 bytes a link and half as much again while links are counted, and time."""
MAX_LINKED_LENGTH: Final = 64
"""Tokens: longer pairs say little about which piece translates which, and need many links. Not measured."""
MIN_PROBABILITY: Final = 1e-4
"""A less likely piece is not a candidate. Not measured."""
LEXICON_ROWS: Final = 4096
"""Pairs, or source pieces, between two checks for a signal."""
LEXICON_LINKS: Final = 1 << 22
"""Links that are processed at once."""

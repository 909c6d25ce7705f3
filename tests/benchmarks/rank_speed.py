"""What it costs to share an update among ranks: one message for the whole gradient, beside PyTorch's DDP.

    torchrun --nproc-per-node 2 tests/benchmarks/rank_speed.py [small|base|big] [TOKENS] [ROUNDS]

DDP sends the gradient in buckets while the backward pass still runs. Both make the same update, in turn; the time of
the passes alone and of the message alone is printed beside them. Without torchrun: one process, which makes all passes.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seq2seq.batching import collate
from seq2seq.config import PRESETS, build, merge
from seq2seq.device import pick_device
from seq2seq.model import n_parameters
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.parallel import Ranks, join_ranks
from seq2seq.training.pass_input import PassInput
from seq2seq.training.step import TrainStep

VOCABULARY = 8000


class Passes(nn.Module):
    """The passes of a step as a module, which DDP needs."""

    def __init__(self, step: TrainStep) -> None:
        super().__init__()
        self.model, self.step = step.model, [step]

    def forward(self, batch: PassInput) -> Tensor:
        """The sum of losses. []"""
        loss: Tensor = self.step[0]._sum_of_losses(batch)
        return loss


def random_pairs(n_tokens: int) -> TokenizedPairs:
    """Pairs of about 14 tokens a side, sorted by length, as those of an update."""
    random = np.random.default_rng(0)
    lengths = np.sort(random.integers(4, 24, n_tokens // 14))
    src, tgt = ([random.integers(4, VOCABULARY, n).astype(np.int32) for n in lengths] for _ in range(2))
    return TokenizedPairs(src, tgt)


def update_by_ddp(step: TrainStep, ddp: DistributedDataParallel, pairs: TokenizedPairs) -> None:
    """The gradient of an update, as ``TrainStep._gradient`` makes it."""
    step.weights.gradient.zero_()
    parts = step._micro_batches(pairs)
    for i, part in enumerate(parts):
        batch = PassInput.from_batch(collate(part.src, part.tgt), step.device)
        with step._products():
            if i + 1 < len(parts):
                with ddp.no_sync():
                    (ddp(batch) * dist.get_world_size()).backward()
            else:
                (ddp(batch) * dist.get_world_size()).backward()


def timed(ranks: Ranks, device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of some work that all ranks begin together."""
    ranks.gather(lambda: None)
    if dist.is_initialized():
        dist.barrier()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    preset, tokens, times = [*sys.argv[1:], *("small", "4096", "20")[len(sys.argv) - 1 :]]
    n_tokens, rounds = int(tokens), int(times)
    device = pick_device("auto")
    config = build(merge([PRESETS[preset], {"training": {"batch_tokens": n_tokens, "max_updates": 9}}]), where="this")
    with join_ranks(lambda: None) as ranks:
        step = TrainStep(config, VOCABULARY, device, ranks)
        whole = random_pairs(n_tokens)
        own = TokenizedPairs(whole.src[ranks.part], whole.tgt[ranks.part])
        with step.replicas as replicas, replicas.one_core_each():
            n_replicas = len(replicas)
            ways: dict[str, Callable[[], object]] = {"one message": lambda: step._gradient(own, 1)}
            if ranks.n > 1:
                ddp = DistributedDataParallel(Passes(step))
                message = torch.zeros(n_parameters(step.model), device=device)
                ways["DDP"] = lambda: update_by_ddp(step, ddp, own)
                ways["passes alone"] = lambda: step._forward_backward(shard(step, own))
                ways["message alone"] = lambda: dist.all_reduce(message)
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(rounds + 2):
                for name, work in ways.items():
                    took = timed(ranks, device, work)
                    if number > 1:  # the first ones warm up
                        seconds[name].append(took)
        if not ranks.rank:
            what = f"{n_parameters(step.model):,} parameters, {n_tokens:,} tokens"
            print(f"{preset}: {what}, {ranks.n} x {device.type}, replicas of each: {n_replicas}")
            for name, each in seconds.items():
                low, middle, high = statistics.quantiles(each, n=4)
                print(f"{name:<14} {1e3 * middle:8.1f} ms   quartiles {1e3 * low:.1f} to {1e3 * high:.1f}")


def shard(step: TrainStep, pairs: TokenizedPairs) -> object:
    """A rank's part of an update as one shard."""
    from seq2seq.training.step import _Shard

    step.weights.gradient.zero_()
    parts = step._micro_batches(pairs)
    return _Shard(parts, [1] * len(parts), 1.0)


if __name__ == "__main__":
    main()

"""Replicas: the same gradient from several processes, none of which is left at the end."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest
import torch
from support.processes import is_running, until
from torch import nn

from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.device import cores
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.products import can_multiply
from seq2seq.model.transformer.attention import MultiHeadAttention
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.parallel import PARALLEL
from seq2seq.training.parallel.forked import ForkedReplicas, n_replicas
from seq2seq.training.step import TrainStep
from seq2seq.training.weights import FlatWeights

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(), reason="elsewhere there is one replica"
)
CPU = torch.device("cpu")


def random_pairs(n=12):
    random = np.random.default_rng(0)
    src, tgt = ([random.integers(4, 60, random.integers(1, 9)).tolist() for _ in range(n)] for _ in range(2))
    return TokenizedPairs(src, tgt)


@pytest.fixture
def step():
    """Makes steps with n replicas, and closes them."""
    with contextlib.ExitStack() as made:

        def make(n, dropout=0.0, **training):
            model = ModelConfig(d_model=32, d_ff=64, encoder_layers=1, decoder_layers=1, dropout=dropout)
            config = TrainingConfig(batch_tokens=500, max_updates=9, **{"precision": "fp32", **training})
            one = TrainStep(RunConfig(model=model, training=config), 60, CPU)
            one.replicas = ForkedReplicas(one.weights, one._forward_backward, n)
            made.enter_context(one.replicas)
            assert len(one.replicas) == n
            return one

        yield make


def gradient(step, pairs, number=1):
    """The stats of an update, and its gradient."""
    stats = step._gradient(pairs, number)
    return stats, step.weights.gradient / stats.n_tokens


def pids(replicas):
    return [other.pid for other in replicas._others]


# The gradient ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_the_gradient_is_that_of_one_replica(step, n):
    one, expected = gradient(step(1), random_pairs())
    several, found = gradient(step(n), random_pairs())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert several.loss_sum == pytest.approx(one.loss_sum, rel=1e-6)
    assert several.n_tokens == one.n_tokens


@pytest.mark.skipif(not can_multiply("bf16"), reason="no bf16")
def test_in_bf16_it_is_nearly_that_of_one_replica(step):
    _, exact = gradient(step(1), random_pairs())
    for n in (1, 2):
        _, found = gradient(step(n, precision="bf16"), random_pairs())
        assert 0 < (found - exact).norm() < 0.1 * exact.norm()


@pytest.mark.skipif(not can_multiply("bf16"), reason="no bf16")
def test_in_bf16_attention_stays_in_fp32(step):
    one, kinds = step(1, precision="bf16"), set()
    for module in one.model.modules():
        if isinstance(module, MultiHeadAttention):
            module.out_proj.register_forward_pre_hook(lambda _, args: kinds.add(args[0].dtype))
    gradient(one, random_pairs())
    assert kinds == {torch.float32}


def test_replicas_see_the_weights_of_each_update(step):
    losses = []
    for n in (1, 2):
        each = step(n)
        losses.append([each.update(random_pairs(), number).loss_sum for number in (1, 2, 3)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][2] < losses[0][1] * (1 - 1e-3)  # and they changed


def test_fewer_pairs_than_replicas(step):
    _, expected = gradient(step(1), random_pairs(2))
    _, found = gradient(step(3), random_pairs(2))
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_gradient_is_only_that_of_its_own_update(step):
    several = step(2)
    first = gradient(several, random_pairs())[1].clone()
    assert torch.equal(gradient(several, random_pairs())[1], first)


def test_dropout_depends_only_on_seed_update_and_part(step):
    several, same = step(2, dropout=0.5), TokenizedPairs([[7, 8, 9]] * 2, [[7, 8]] * 2)
    first = gradient(several, same)[1].clone()
    alone = [other.gradient for other in several.replicas._others]  # the second pair's
    assert not torch.allclose(first, 2 * alone[0], rtol=1e-3)
    assert not torch.equal(gradient(several, same, number=2)[1], first)
    torch.manual_seed(5)  # what else was drawn changes nothing
    assert torch.equal(gradient(several, same)[1], first)
    other = step(2, dropout=0.5, seed=2)
    other.weights.trained.copy_(several.weights.trained)
    assert not torch.equal(gradient(other, same)[1], first)


# Errors ------------------------------------------------------------------------------------


def few_weights():
    return FlatWeights(nn.Linear(1, 3, bias=False))


def doubling(weights):
    def learn(task):
        if task == "memory":
            raise MemoryError
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "interrupt":
            raise KeyboardInterrupt
        if task == "sleep":
            time.sleep(10_000)
        weights.add_gradient(weights.parameters[0].sum() * task)
        return 2 * task

    return learn


@pytest.fixture
def replicas():
    weights = few_weights()
    with ForkedReplicas(weights, doubling(weights), 3) as made:
        yield made


@pytest.mark.parametrize("name", PARALLEL)
def test_each_row_sums_results_and_gradients_of_its_shards(name):
    weights = few_weights()
    n = 1 if name == "single" else 2
    shards = [3, 4][:n]
    with PARALLEL[name](weights, doubling(weights), n) as made:
        assert len(made) == n
        for _ in range(2):
            weights.gradient.zero_()
            with made.one_core_each():
                assert made.forward_backward(shards) == 2 * sum(shards)
            assert weights.gradient.tolist() == [sum(shards)] * 3
        with pytest.raises(MemoryError):
            made.forward_backward([*shards[:-1], "memory"])
    assert len(made) == 1


def test_a_single_process_is_not_several():
    with pytest.raises(ValueError, match="2 replicas need more than one process"):
        PARALLEL["single"](few_weights(), print, 2)


def test_results_are_added_up_as_gradients_are(replicas):
    assert replicas.forward_backward([1, 2, 3]) == 12
    assert replicas._weights.gradient.tolist() == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("tasks", [[1, "memory", 3], ["memory", 2, 3]])
def test_an_error_of_a_replica_is_raised_and_the_next_update_is_complete(replicas, tasks):
    with pytest.raises(MemoryError):
        replicas.forward_backward(tasks)
    replicas._weights.gradient.zero_()
    assert replicas.forward_backward([1, 2, 3]) == 12
    assert replicas._weights.gradient.tolist() == [6.0, 6.0, 6.0]


def test_a_killed_process_is_reported(replicas):
    with pytest.raises(UserError, match="a process that trains was killed") as raised:
        replicas.forward_backward([1, "die", 3])
    assert raised.value.code == ExitCode.TRY_LATER


def test_a_second_interruption_does_not_wait_for_the_others(replicas):
    others = pids(replicas)
    with pytest.raises(KeyboardInterrupt):
        replicas.forward_backward(["interrupt", "sleep", 3])
    assert not any(map(is_running, others))
    assert replicas.forward_backward([4]) == 8


def test_memory_of_a_failed_update_is_free_before_the_next():
    held = []

    def learn(task):
        if task == "fail":
            large = torch.zeros(1000)
            held.append(weakref.ref(large))
            raise MemoryError
        return sum(ref() is not None for ref in held)

    with ForkedReplicas(few_weights(), learn, 2) as replicas:
        with pytest.raises(MemoryError):
            replicas.forward_backward(["fail", "fail"])
        assert replicas.forward_backward([0, 0]) == 0


def test_each_replica_has_one_core_and_the_thread_count_is_restored(two_threads, replicas):
    with replicas.one_core_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    replicas.close()
    with replicas.one_core_each():
        assert torch.get_num_threads() == 2


def test_signals_are_for_the_parent(replicas):
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for pid in pids(replicas):
            os.kill(pid, stop)
    assert replicas.forward_backward([1, 2, 3]) == 12
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_out_of_memory_in_a_replica_leads_to_smaller_passes(step, monkeypatch):
    """In processes forked after this, more than four pairs do not fit into memory."""
    portion, real = random_pairs(), TrainStep._sum_of_losses

    def picky(self, batch):
        if len(batch.src) > 4 and os.getpid() != parent:
            raise MemoryError
        return real(self, batch)

    parent = os.getpid()
    _, expected = gradient(step(1), portion)
    monkeypatch.setattr(TrainStep, "_sum_of_losses", picky)
    several = step(2)
    several.micro_batch_tokens = 128
    several.update(portion, 1)
    assert len(several.replicas) == 2
    assert several.micro_batch_tokens < 128
    several = step(2)
    several.micro_batch_tokens = 20
    assert torch.allclose(gradient(several, portion)[1], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [1, 2])
def test_r_drop_has_the_gradient_of_both_masks(step, n):
    """Without dropout both masks are the same, and the gradient is that of one."""
    portion = random_pairs()
    one, expected = gradient(step(n), portion)
    two, found = gradient(step(n, dropout=1e-9, r_drop=5.0), portion)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert two.loss_sum == pytest.approx(one.loss_sum, rel=1e-5)
    assert (two.n_tokens, two.n_positions) == (one.n_tokens, one.n_positions)
    apart, _ = gradient(step(n, dropout=0.5, r_drop=5.0), portion)
    together, _ = gradient(step(n, dropout=0.5, r_drop=1e-9), portion)
    assert apart.loss_sum > together.loss_sum + 1  # the same masks, which do not agree


def test_r_drop_takes_the_memory_of_one_mask(step, monkeypatch):
    sizes, real = [], TrainStep._sum_of_losses

    def watched(self, batch):
        sizes.append(batch.src.numel())
        return real(self, batch)

    monkeypatch.setattr(TrainStep, "_sum_of_losses", watched)
    for r_drop, most in ((0.0, 40), (1.0, 20)):
        one = step(1, dropout=0.1, r_drop=r_drop)
        one.micro_batch_tokens = 40
        sizes.clear()
        one.update(random_pairs(), 1)
        assert most / 2 < max(sizes) <= most


# The end --------------------------------------------------------------------------------------------


def test_leaving_the_context_ends_the_processes():
    weights = few_weights()
    with ForkedReplicas(weights, doubling(weights), 3) as replicas:
        others = pids(replicas)
        assert len(others) == 2
        assert all(map(is_running, others))
    assert not any(map(is_running, others))
    assert replicas.forward_backward([4]) == 8


def test_without_entering_there_is_one_replica():
    weights = few_weights()
    assert len(ForkedReplicas(weights, doubling(weights), 3)) == 1


def test_forgotten_replicas_end_their_processes():
    weights = few_weights()
    replicas = ForkedReplicas(weights, doubling(weights), 2).__enter__()
    (other,) = pids(replicas)
    assert is_running(other)
    del replicas
    gc.collect()
    assert not is_running(other)


@pytest.mark.parametrize(
    ("end", "code"),
    [("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("sys.exit(3)", 3), ("os._exit(4)", 4)],
)
def test_processes_end_with_their_parent(end, code):
    program = f"""
import os, signal, sys
from torch import nn
from seq2seq.training.parallel.forked import ForkedReplicas
from seq2seq.training.weights import FlatWeights
replicas = ForkedReplicas(FlatWeights(nn.Linear(2, 2)), print, 3).__enter__()
print(*(other.pid for other in replicas._others), flush=True)
{end}
"""
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert parent.returncode == code
    others = [int(word) for word in parent.stdout.split()]
    assert len(others) == 2
    until(lambda: not any(map(is_running, others)))


# The number of replicas -------------------------------------------------------------------------------------------


def test_there_is_one_replica_for_each_core_if_there_is_enough_work(two_threads, step, monkeypatch):
    assert n_replicas(torch.device("cuda"), 25_000) == 1
    assert n_replicas(CPU, 500) == 1
    assert n_replicas(CPU, 25_000) == min(cores(), 97)
    assert n_replicas(CPU, 512) == min(cores(), 2)
    arguments = []
    monkeypatch.setattr("seq2seq.training.parallel.choose.n_replicas", lambda *of: arguments.append(of) or 1)
    for r_drop, n_rows in ((0.0, 500), (1.0, 1000)):  # a row for each mask
        step(1, dropout=0.1, r_drop=r_drop)
        assert arguments.pop() == (CPU, n_rows)
    torch.set_num_threads(1)
    assert n_replicas(CPU, 25_000) == 1

"""Replicas: the same gradient from several processes, and none of them left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.learner import Learner
from seq2seq.training.loader import Portion
from seq2seq.training.replicas import Replicas, n_replicas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one replica")
CPU = torch.device("cpu")


def random_pairs(n=12):
    random = np.random.default_rng(0)
    src, tgt = ([random.integers(4, 60, random.integers(1, 9)).tolist() for _ in range(n)] for _ in range(2))
    return Portion(src, tgt)


def learner(n, dropout=0.0):
    model = ModelConfig(d_model=32, d_ff=64, encoder_layers=1, decoder_layers=1, dropout=dropout)
    # Too few tokens for more than one, however many cores there are.
    made = Learner(RunConfig(model=model, training=TrainingConfig(batch_tokens=500, max_updates=9)), 60, CPU)
    made.replicas = Replicas(made.model, made._learn, n)
    assert len(made.replicas) == n
    return made


def gradient(learner, portion):
    """What an update has learnt, and the gradient it would follow."""
    learned = learner._gradient(portion)
    return learned, torch.cat([parameter.grad.flatten() for parameter in learner.model.parameters()])


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(pid) for pid in file.read().split()}


# The gradient ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_the_gradient_is_that_of_one_replica(n):
    one, expected = gradient(learner(1), random_pairs())
    several, found = gradient(learner(n), random_pairs())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert several.loss_sum == pytest.approx(one.loss_sum, rel=1e-6)
    assert several.n_tokens == one.n_tokens


def test_replicas_see_the_weights_of_each_update():
    losses = []
    for n in (1, 2):
        each = learner(n)
        losses.append([each.update(random_pairs(), number).loss_sum for number in (1, 2, 3)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][2] < losses[0][1] * (1 - 1e-3)  # and they changed


def test_fewer_pairs_than_replicas_are_learnt_too():
    _, expected = gradient(learner(1), random_pairs(2))
    _, found = gradient(learner(3), random_pairs(2))
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_gradient_is_of_its_own_update_alone():
    several = learner(2)
    first = gradient(several, random_pairs())[1].clone()
    assert torch.equal(gradient(several, random_pairs())[1], first)


def test_dropout_follows_from_the_seed_and_differs_between_replicas():
    several, same = learner(2, dropout=0.5), Portion([[7, 8, 9]] * 2, [[7, 8]] * 2)
    torch.manual_seed(5)
    first = gradient(several, same)[1].clone()
    alone = [
        torch.cat([gradient.flatten() for gradient in other.gradients]) for other in several.replicas._others
    ]  # the second pair's
    assert not torch.allclose(first, 2 * alone[0], rtol=1e-3)
    assert not torch.equal(gradient(several, same)[1], first)
    torch.manual_seed(5)
    assert torch.equal(gradient(several, same)[1], first)


# What goes wrong ------------------------------------------------------------------------------------


class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(3))


def doubling(model):
    def learn(task):
        if task == "memory":
            raise MemoryError
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        (model.value.sum() * task).backward()
        return 2 * task

    return learn


@pytest.fixture
def replicas():
    model = Weight()
    made = Replicas(model, doubling(model), 3)
    yield made
    made.close()


def test_results_come_in_the_order_of_the_tasks(replicas):
    assert replicas.run([1, 2, 3]) == [2, 4, 6]
    assert replicas._parameters[0].grad.tolist() == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("tasks", [[1, "memory", 3], ["memory", 2, 3]])
def test_an_error_of_any_replica_is_raised_here_and_the_next_update_is_whole(replicas, tasks):
    with pytest.raises(MemoryError):
        replicas.run(tasks)
    replicas._parameters[0].grad = None
    assert replicas.run([1, 2, 3]) == [2, 4, 6]
    assert replicas._parameters[0].grad.tolist() == [6.0, 6.0, 6.0]


def test_a_killed_process_is_told_of(replicas):
    with pytest.raises(UserError, match="a process that trains was killed") as raised:
        replicas.run([1, "die", 3])
    assert raised.value.code == ExitCode.TRY_LATER


def test_an_update_has_a_core_for_each_and_leaves_the_count_of_threads(replicas):
    before = torch.get_num_threads()
    with replicas.a_core_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    replicas.close()
    with replicas.a_core_each():
        assert torch.get_num_threads() == before


def test_signals_are_for_the_parent(replicas):
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for other in children():
            os.kill(other, stop)
    assert replicas.run([1, 2, 3]) == [2, 4, 6]


# The end --------------------------------------------------------------------------------------------


def test_closing_ends_the_processes_and_leaves_one_replica():
    before, model = children(), Weight()
    replicas = Replicas(model, doubling(model), 3)
    assert len(children() - before) == 2
    replicas.close()
    assert children() == before
    assert replicas.run([4]) == [8]


def test_forgotten_replicas_end_their_processes():
    before, model = children(), Weight()
    replicas = Replicas(model, doubling(model), 2)
    assert len(children() - before) == 1
    del replicas
    assert children() == before


@pytest.mark.parametrize(
    ("end", "code"),
    [("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("sys.exit(3)", 3), ("os._exit(4)", 4)],
)
def test_processes_end_with_a_parent_however_it_ends(end, code):
    program = f"""
import os, signal, sys, weakref
weakref.finalize(os, print, end="")  # whose end would come after multiprocessing's
from torch import nn
from seq2seq.training.replicas import Replicas
replicas = Replicas(nn.Linear(2, 2), print, 3)
print(*(other.pid for other in replicas._others), flush=True)
{end}
"""
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert parent.returncode == code
    pids = parent.stdout.split()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# How many -------------------------------------------------------------------------------------------


def test_there_is_one_replica_a_core_where_each_has_enough_to_do():
    assert n_replicas(torch.device("cuda"), 25_000) == 1
    assert n_replicas(CPU, 500) == 1
    assert 1 <= n_replicas(CPU, 25_000) <= torch.get_num_threads()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert n_replicas(CPU, 25_000) == 1
    finally:
        torch.set_num_threads(before)

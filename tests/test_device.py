"""Copies to a GPU and back; the devices of several processes."""

import pytest
import torch

from seq2seq import device
from seq2seq.device import HostCopy, pick_device, to_device
from seq2seq.errors import UserError


@pytest.fixture(params=["here", "elsewhere"])
def elsewhere(request, monkeypatch):
    """With tensors on the CPU, and with tensors that are copied together."""
    if request.param == "elsewhere":
        monkeypatch.setattr(device, "is_on_cpu", lambda tensor: False)


@pytest.mark.parametrize("n_tokens", [0, 1, 5])
def test_a_copy_has_the_same_values(elsewhere, n_tokens):
    """Shapes, data types and values, also large ids, infinity and NaN."""
    scores = torch.tensor([[-1.25, -torch.inf], [torch.nan, 3e-7]])
    pieces = torch.tensor([[4, 2**24], [16_777_215, 0]])
    outputs = torch.arange(2 * 3 * n_tokens).view(2, 3, n_tokens)
    flags = torch.tensor([True, False])
    arrived = HostCopy(scores, pieces, outputs, flags).values()
    for before, after in zip((scores, pieces, outputs, flags), arrived, strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def test_without_an_event_the_copy_is_synchronous(monkeypatch):
    """As on MPS: the values must be complete when the call returns."""
    monkeypatch.setattr(device, "is_on_cpu", lambda tensor: False)
    real, non_blocking = torch.Tensor.to, []

    def watched(tensor: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        non_blocking.append(options.get("non_blocking", False))
        return real(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", watched)
    HostCopy(torch.zeros(2, 3))
    assert non_blocking == [False]


def test_a_transposed_tensor_is_copied_correctly(elsewhere):
    table = torch.arange(6).view(2, 3).t()
    (arrived,) = HostCopy(table).values()
    assert arrived.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_memory_is_pinned_only_for_cuda(monkeypatch):
    """On MPS pinning raises an error."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", None)
    moved = to_device(torch.zeros(2, 3), torch.device("meta"))
    assert (moved.device.type, moved.shape) == ("meta", (2, 3))


def test_the_event_is_on_the_gpu_of_the_tensors(monkeypatch):
    """PyTorch's current GPU may be another one, with another stream."""
    recorded = []
    there = torch.device("cuda:1")

    class Event:
        def record(self, stream: object) -> None:
            recorded.append(stream)

    class OnAGpu:
        device = there

        def reshape(self, *_: int) -> torch.Tensor:
            return torch.zeros(2, 3)

        def size(self, dim: int) -> int:
            return (2, 3)[dim]

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    HostCopy(OnAGpu())
    assert recorded == ["stream of cuda:1"]


# Several processes on one machine ---------------------------------------------------------------------


@pytest.fixture
def two_ranks(monkeypatch):
    """This process is the second of two."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_rank_has_its_own_gpu(two_ranks, monkeypatch, name):
    chosen = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    assert pick_device(name) == torch.device("cuda:1")
    assert chosen == ["cuda:1"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"`device=cuda:1` does not exist: .* start as many processes as there"):
        pick_device(name)


def test_ranks_share_a_cpu(two_ranks, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("mps", "cuda:0"):
        with pytest.raises(UserError, match=f"`device={name}` is one GPU, but torchrun started 2 processes"):
            pick_device(name)

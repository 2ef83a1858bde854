"""Several processes that train one network, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m models train --network resnet19 --dataset cifar10 --data data/

Every process holds the network (DistributedDataParallel) and takes its part of every batch; what a
batch holds and how its images are changed does not depend on how many processes there are. Without
torchrun all functions here say that there is one process, and do nothing.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["add_up", "is_first", "processes", "rank", "share",
           "share_buffers", "synchronise", "wait", "world_size"]


def world_size() -> int:
    """How many processes there are."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def rank() -> int:
    """Which one this is, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes files."""
    return rank() == 0


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes if torchrun started some; the device of this one.

    GPUs talk through NCCL, and each process takes the one of its LOCAL_RANK; CPUs through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # DistributedDataParallel imports this, and it holds on to the groups that are there then: their
    # threads would go on when this ends, and one that needs the interpreter aborts as it exits.
    importlib.import_module("torch._dynamo")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        distributed.barrier()       # none leaves while another still talks to it
    finally:
        distributed.destroy_process_group()


def share(values: Tensor) -> Tensor:
    """This process's part of a batch's values [N, ...]: consecutive, sizes differ by at most 1."""
    return values.tensor_split(world_size())[rank()]


def add_up(values: list[float], device: torch.device) -> list[float]:
    """The sum over all processes of each value."""
    if world_size() == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.tolist()


def share_buffers(network: nn.Module) -> None:
    """Give all processes the buffers (running means) of the first one."""
    if world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def wait() -> None:
    """Wait for all processes to come here."""
    if world_size() > 1:
        distributed.barrier()


def synchronise(network: nn.Module, enabled: bool = True) -> None:
    """Let every tdBN of a network take its statistics over all processes, or over its own."""
    for module in network.modules():
        if isinstance(module, TDBatchNorm):
            module.synchronised = enabled

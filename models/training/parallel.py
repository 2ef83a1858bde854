"""Several processes that train one network, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m quadfire train --network resnet19 --dataset cifar10 --data data/

Every process holds the network (DistributedDataParallel) and takes its part of every batch. Neither
what a batch holds nor how its images are changed depends on the number of processes. Without
torchrun there is one process, and the functions here do nothing.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["add_up", "agreed", "gather", "is_first", "processes", "rank", "share",
           "share_buffers", "synchronise", "wait", "world_size"]


def world_size() -> int:
    """The number of processes."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes files."""
    return rank() == 0


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did. Yields the device of this one.

    GPUs talk through NCCL, and each process takes the one of its LOCAL_RANK; CPUs through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # DistributedDataParallel imports this module, which keeps the process groups that exist then.
    # Their threads would outlive this function, and one that needs the interpreter while it exits
    # aborts. Imported before, the module keeps none.
    importlib.import_module("torch._dynamo")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        distributed.barrier()       # no process leaves while another still talks to it
    finally:
        distributed.destroy_process_group()


def share(values: Tensor) -> Tensor:
    """This process's part of values [N, ...]: consecutive ones; parts differ by at most one."""
    return values.tensor_split(world_size())[rank()]


def add_up(values: list[float], device: torch.device) -> list[float]:
    """The sum over all processes of each value."""
    if world_size() == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.tolist()


def gather(values: Tensor) -> Tensor:
    """Values [count] of each process, in order, [processes, count]."""
    table = values.new_zeros(world_size(), len(values))
    table[rank()] = values
    if world_size() > 1:
        distributed.all_reduce(table)
    return table


def agreed(value: int, device: torch.device) -> int:
    """The value of the first process, for all."""
    if world_size() == 1:
        return value
    common = torch.tensor(value, device=device)
    distributed.broadcast(common, 0)
    return int(common)


def share_buffers(network: nn.Module) -> None:
    """Copy the buffers (running means) of the first process to all others."""
    if world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def wait() -> None:
    """Wait until all processes have come here."""
    if world_size() > 1:
        distributed.barrier()


def synchronise(network: nn.Module, enabled: bool = True) -> None:
    """Let each tdBN of a network take its statistics over all processes, or over its own part."""
    for module in network.modules():
        if isinstance(module, TDBatchNorm):
            module.synchronised = enabled

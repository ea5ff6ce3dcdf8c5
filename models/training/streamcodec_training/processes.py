"""The processes that share a run under torchrun, and the device of this one."""

from __future__ import annotations

import dataclasses
import os

import torch
import torch.distributed as dist

from streamcodec.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process's `rank` of `world`, and its `device`. Rank 0 writes files and prints."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Processes:
        """Reads torchrun's environment and waits for the other processes. `device` is auto, cpu or
        cuda. Raises ConfigError where there is no GPU.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device cuda: PyTorch finds no GPU here; use cpu or auto")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device == "cuda" else "gloo")
        local = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device
        return cls(rank, world, torch.device(local))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until every process has come here."""
        if self.world > 1:
            dist.barrier()

    def agree(self, value: float) -> float:
        """Rank 0's `value` on every rank: clocks differ, and a rank that stopped alone would leave
        the others waiting for its gradients.
        """
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.broadcast(shared, 0)
        return float(shared)

    def leave(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()

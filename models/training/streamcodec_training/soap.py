"""SOAP: AdamW in the eigenbasis of Shampoo's preconditioner. For `ablations`: no package of the
index holds it.

Source: Vyas et al. 2024 (SOAP), algorithm 3: moments of the rotated gradient, a basis that one QR
step each `FREQUENCY` steps keeps up to date.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

BETAS = (0.95, 0.95)
SHAMPOO_BETA = 0.95
FREQUENCY = 10
EPSILON = 1e-8


class Soap(torch.optim.Optimizer):
    """Parameters must be matrices."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Without a closure: gradients are there already. The first step only looks."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                self._step(parameter, group["lr"])

    def _step(self, parameter: Tensor, lr: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            state["left"], state["right"] = gradient @ gradient.T, gradient.T @ gradient
            state["left_basis"], state["right_basis"] = (
                torch.linalg.eigh(state[s])[1].flip(1) for s in ("left", "right")
            )
            return
        state["step"] += 1
        left, right = state["left_basis"], state["right_basis"]
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_((left.T @ gradient @ right).square(), 1 - BETAS[1])
        mean = left.T @ state["mean"] @ right / (1 - BETAS[0] ** state["step"])
        square = state["square"] / (1 - BETAS[1] ** state["step"])
        parameter.sub_(left @ (mean / (square.sqrt() + EPSILON)) @ right.T, alpha=lr)
        state["left"].lerp_(gradient @ gradient.T, 1 - SHAMPOO_BETA)
        state["right"].lerp_(gradient.T @ gradient, 1 - SHAMPOO_BETA)
        if state["step"] % FREQUENCY == 0:
            for side in ("left", "right"):
                state[f"{side}_basis"] = torch.linalg.qr(state[side] @ state[f"{side}_basis"])[0]

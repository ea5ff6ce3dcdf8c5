"""One step of training: a batch through the network, its cost, and every optimiser moved once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from streamcodec.errors import ModelError
from streamcodec_models.vae import VoiceVae

from .adversary import AdversarialStage
from .checkpoint import Checkpoint
from .config import TrainingConfig
from .objective import Objective
from .optimisers import freeze_encoder, learning_rate_share, make_optimisers, running_mean
from .processes import Processes
from .training_pass import TrainingPass

LARGEST_GRADIENT_NORM = 1.0
FIRST_RATE_SHARE = 0.1  # of the price of bits, at the beginning of its ramp
# Of the bits that the waveform layer's prior learns from. Nothing else learns from them, and AdamW
# does not mind; but they must not fill the norm at which all gradients are clipped.
PRIOR_WEIGHT = 1e-3
BASE_MARGIN = 1.1  # of the highest quality without the layer, up to which it is trained


class Moment(NamedTuple):
    """Where in its run a step stands: its number, and the share of the budget that is spent."""

    step: int
    done: float


class Diverged(ModelError):
    """What a run has come to is not finite: it cannot go on, and is not worth keeping."""


class Learner:
    """The network with everything that changes as it learns: optimisers, running mean of the
    weights, discriminators.
    """

    def __init__(self, config: TrainingConfig, model: VoiceVae, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = model.to(device)
        self.objective = Objective(config, model.config, device)
        self.stage = AdversarialStage(device) if config.adversarial else None
        if config.adversarial:
            freeze_encoder(model)
        self.optimisers = make_optimisers(model, config)
        self.average = AveragedModel(model, multi_avg_fn=running_mean(config.average_decay))
        self.network: nn.Module = TrainingPass(model)

    def prepare(self, processes: Processes) -> None:
        """Once weights are in place: compiles where asked, and shares gradients between
        processes.
        """
        if self.config.compile:
            self.model.compile()
            self.objective.compile()
        if processes.world > 1:
            self.network = DistributedDataParallel(self.network, broadcast_buffers=False)
            if self.stage is not None:
                self.stage.distribute()

    @property
    def mean_model(self) -> VoiceVae:
        """The network with the running mean of the weights, which is what is exported."""
        model = self.average.module
        assert isinstance(model, VoiceVae)
        return model

    def step(self, x: Tensor, lost: Tensor, at: Moment) -> dict[str, Tensor]:
        """x [B, T], lost [B, P] -> figures of this step, scalar tensors on the device. Raises
        Diverged, with the weights as they were before it, where the gradient is not finite.
        """
        share = learning_rate_share(at.done, at.step, self.config.decay_from)
        for scheduled in self.optimisers:
            for group in scheduled.optimizer.param_groups:
                group["lr"] = scheduled.rate * share
        x, lost = x.to(self.device), lost.to(self.device)
        quality = self.draw_quality(len(x))
        hard_share = torch.tensor(self._hard_share(at), device=self.device)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device)
        ):
            passed = self.network(x, quality, lost, hard_share, self.config.draws)
        overlap = self.model.config.overlap
        outputs, wanted = passed.outputs.float()[:, :, overlap:], x[:, :-overlap]
        loss, figures = self.objective.cost(
            outputs, wanted, passed.bits, quality, self._rate_share(at)
        )
        loss = loss + PRIOR_WEIGHT * passed.prior_loss.mean()
        if self.stage is not None:
            cost, judged = self.stage.judge(outputs[0], wanted)
            loss, figures = loss + cost, {**figures, **judged}
        norm = self._gradient(loss)
        if not bool(norm.isfinite()):
            wrong = [name for name, value in figures.items() if not bool(value.isfinite())]
            raise Diverged(f"step {at.step + 1}: not finite: {', '.join(['gradient', *wrong])}")
        self._descend()
        return {**figures, "gradient norm": norm, "learning rate share": torch.tensor(share)}

    def draw_quality(self, batch: int) -> Tensor:
        """-> [batch] in 0..2: a share of them with the waveform layer; with it and without, more
        that are low, because low rates are the harder task.
        """
        low = torch.rand(batch, device=self.device) ** self.config.low_rates
        highest = min(1.0, BASE_MARGIN * self.model.config.highest_base)
        with_layer = torch.rand(batch, device=self.device) < self.config.waveform_share
        return torch.where(with_layer, 1 + low, highest * low)

    def checkpoint(self) -> Checkpoint:
        """What is needed to go on from here, but for the progress of the run."""
        stage = self.stage
        return Checkpoint(
            model_config=self.model.config,
            model=self.model.state_dict(),
            average=self.mean_model.state_dict(),
            optimizers=[scheduled.optimizer.state_dict() for scheduled in self.optimisers],
            adversary=stage.adversary.state_dict() if stage else None,
            adversary_optimizer=stage.optimizer.state_dict() if stage else None,
        )

    def restore(self, saved: Checkpoint, steps: int) -> None:
        """Goes on from a checkpoint of a run that had come `steps` far. Raises ModelError where the
        checkpoint lacks what this run needs.
        """
        if saved.model_config != self.model.config:
            raise ModelError(
                "it holds a model of another shape; train it with its own --config or choose "
                "another --out"
            )
        if self.stage is None and saved.adversary is not None:
            raise ModelError(
                "it is of a run with --adversarial; give that again, or choose another --out"
            )
        if self.stage is not None and (
            saved.adversary is None or saved.adversary_optimizer is None
        ):
            raise ModelError(
                "it is of a run without discriminators; name it as the warm start of another --out"
            )
        if saved.optimizers is None or len(saved.optimizers) != len(self.optimisers):
            raise ModelError("it holds no optimisers; name it as the --warm-start of another --out")
        self.model.load_state_dict(saved.model)
        self.average.module.load_state_dict(saved.final_weights)
        self.average.n_averaged.fill_(steps)
        for scheduled, state in zip(self.optimisers, saved.optimizers, strict=True):
            scheduled.optimizer.load_state_dict(state)
        if self.stage is not None:
            assert saved.adversary is not None
            assert saved.adversary_optimizer is not None
            self.stage.adversary.load_state_dict(saved.adversary)
            self.stage.optimizer.load_state_dict(saved.adversary_optimizer)

    def _gradient(self, loss: Tensor) -> Tensor:
        """Puts its gradient, clipped, beside all weights -> norm of it before it was clipped."""
        for scheduled in self.optimisers:
            scheduled.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT_NORM)

    def _descend(self) -> None:
        """Moves all weights, and their running mean, once."""
        for scheduled in self.optimisers:
            scheduled.optimizer.step()
        self.average.update_parameters(self.model)

    def _hard_share(self, at: Moment) -> float:
        """Share of a batch whose latents are rounded as in use. Sampled ones help a young network
        to learn, but their noise drowns low rates, where nearly all latents are zero; so none are
        left once the learning rate decays.
        """
        young = self.config.warm_start is None and at.done < self.config.decay_from
        return 0.5 if young else 1.0

    def _rate_share(self, at: Moment) -> float:
        """Share of the price of bits that is charged: all of it after a warm start, else rising."""
        if self.config.warm_start is not None:
            return 1.0
        return min(1.0, FIRST_RATE_SHARE + at.step / self.config.rate_ramp_steps)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Without AVX-512, PyTorch emulates bfloat16 products at a fiftieth of the speed of float32
    ones.
    """
    return device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()

"""The network as training runs it: encoder, rounding, decoder and the price of the bits in one
pass, from the initial state.

Shapes: B batch, T samples, P packets, D latent, F frames of a packet, K coefficients of the
waveform layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from streamcodec.tables import GAIN_MIN, GAIN_STEPS_PER_OCTAVE, LOUDNESS_STEP
from streamcodec_models.quality_axis import base_quality, coded_bins
from streamcodec_models.vae import Encoded, VoiceVae
from streamcodec_models.waveform import UNCODED, BaseSound, Waveform
from streamcodec_models.waveform_prior import first_step, laplace_bits, quantise

TALKING = 10  # gain steps below the loudest packet, above which one counts as speech


class Passed(NamedTuple):
    """reconstructions [draws, B, T]; bits [B, P] of base and layer; prior_loss [B], of what the
    prior of the waveform layer learns from.
    """

    outputs: Tensor
    bits: Tensor
    prior_loss: Tensor


class TrainingPass(nn.Module):
    """Wraps the network so that processes share the gradient of one forward pass."""

    def __init__(self, vae: VoiceVae) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, x: Tensor, quality: Tensor, lost: Tensor, hard_share: Tensor, draws: int = 1
    ) -> Passed:
        """x [B, T], quality [B] in 0..2, lost [B, P], hard_share scalar in 0..1.

        `hard_share` of the items hear latents that are rounded, as at inference, with the gradient
        passed straight through; the others hear samples of the posterior. The rate is always that
        of a sample (Minnen & Singh 2020). Reconstructions differ in their noise alone: the
        distortion needs two to be fair to it.
        """
        vae, batch = self.vae, len(x)
        quality = quality[:, None].expand_as(lost)
        encoded = vae.encode(x, quality, vae.initial_encoder_state(batch))
        mean, gain_index = encoded.mean, encoded.gain_index
        sampled = mean + torch.rand_like(mean) - 0.5
        with torch.autocast(x.device.type, enabled=False):
            chosen = vae.prior.choose(torch.round(mean), quality)
            rounded = vae.prior.quantise(mean, quality, chosen)
        hard = torch.rand(batch, 1, 1, device=x.device) < hard_share
        state = vae.initial_decoder_state(batch)
        y = torch.where(hard, rounded, sampled)
        hidden = vae.hidden(y, gain_index, quality, lost, state)
        positions = torch.randint(vae.config.noise_frames, (draws, batch), device=x.device)
        parts = [vae.synthesise(hidden, position, state.tails) for position in positions]
        with torch.autocast(x.device.type, enabled=False):
            sounds = [vae.join(part, hidden.frames.float(), state)[0] for part in parts]
            bits = vae.prior.bits(sampled, gain_index, quality, chosen)
            gain = torch.exp2(hidden.gain_index / GAIN_STEPS_PER_OCTAVE)
            layers = [
                self._layer(encoded, y.detach(), sound, gain, quality, lost) for sound in sounds
            ]
            outputs = [
                vae.waveform.step(sound, gain, layer.waveform, state.waveform)[0]
                for sound, layer in zip(sounds, layers, strict=True)
            ]
        return Passed(
            torch.stack(outputs),
            bits + layers[0].bits,
            torch.stack([m.loss for m in layers]).mean(0),
        )

    def _layer(
        self,
        encoded: Encoded,
        y: Tensor,
        sound: BaseSound,
        gain: Tensor,
        quality: Tensor,
        lost: Tensor,
    ) -> _Layer:
        """What the waveform layer says over this sound of the network. Items without the layer
        teach its prior nothing, and cost nothing.
        """
        vae, c = self.vae, self.vae.config
        position = (quality - 1).clamp_min(0)
        coded = (quality >= 1) & ~lost & (encoded.gain_index > GAIN_MIN)
        base = vae.waveform.base_coefficients(sound, gain)
        rise = (encoded.gain_index - loudness(encoded.gain_index)).flatten()
        prices = vae.waveform_prior(y.flatten(0, 1), rise, base_quality(c, quality).flatten())
        shape = base.shape
        finest = first_step(position, c.coarsest_step, c.finest_step)[..., None, None]
        log_step = (prices.log_step.view(shape) + finest).detach()
        step, log_scale = torch.exp2(log_step), prices.log_scale.view(shape) - log_step
        z = (encoded.coefficients - vae.waveform.prediction * base) / step
        q = quantise(z, log_scale)
        bins = torch.arange(shape[-1], device=z.device)
        wide = bins < coded_bins(c, quality)[..., None, None]
        used = coded[..., None, None] & wide
        q = torch.where(used, q, 0)
        values = torch.where(used, (z + (q - z).detach()) * step, 0)
        # The prior learns from what is sent, the network from samples, which have a gradient.
        priced = torch.where(used, laplace_bits(q, log_scale), 0).sum((2, 3))
        sampled = torch.where(
            used, laplace_bits(z + torch.rand_like(z) - 0.5, log_scale.detach()), 0
        ).sum((2, 3))
        error = vae.waveform_prior.step_error(prices, rise, base.detach().flatten(0, 1))
        loss = ((priced + 2 * error.view(lost.shape)) * coded).mean(1)
        waveform = Waveform(
            values=values * (q != 0),
            steps=torch.where(wide, step, UNCODED),
            coded=coded,
            layer=position,
        )
        bits = priced.detach() + (sampled - sampled.detach())
        return _Layer(waveform, bits, loss)


class _Layer(NamedTuple):
    waveform: Waveform
    bits: Tensor  # [B, P]
    loss: Tensor  # [B]


def loudness(gain_index: Tensor) -> Tensor:
    """gain_index [B, P] of segments -> how loud each talks, as a packet names it: [B, 1]."""
    talking = gain_index > gain_index.max(1, keepdim=True).values - TALKING
    mean = (gain_index * talking).sum(1, keepdim=True) / talking.sum(1, keepdim=True)
    return torch.round(mean / LOUDNESS_STEP) * LOUDNESS_STEP

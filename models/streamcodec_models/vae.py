"""The rate-distortion VAE: causal encoder, decoder, and the prior that prices its latents.

Shapes: B batch, T samples, P packets, F frames (P * frames_per_packet), D latent. Training, offline
and streaming use run the same code. How this realises the beta-VAE's formulas: docs/model.md.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from streamcodec.tables import GAIN_COUNT, GAIN_MIN, GAIN_STEPS_PER_OCTAVE, EntropyTables

from .blocks import (
    BlockStack,
    CausalBlock,
    analysis_slopes,
    noise_spectra,
    overlap_add,
    sine_slopes,
)
from .comb import CombState, PitchComb
from .config import VaeConfig
from .entropy import Prior
from .noise_envelope import NoiseEnvelope, NoiseEnvelopeState
from .quality_axis import QualityTable, base_quality, layer_condition
from .waveform import BaseSound, Waveform, WaveformLayer, WaveformState
from .waveform_prior import WaveformPrior

# steps a missing packet: 3 dB, so that concealment has faded by 30 dB after 200 ms
HELD_GAIN_DECAY = 2
LOG_MAGNITUDE_LIMIT = 5.0


class EncoderState(NamedTuple):
    """What the encoder remembers between packets."""

    history: Tensor  # [B, analysis_window - hop] samples
    gain_index: Tensor  # [B] of the packet before
    frame_blocks: tuple[Tensor, ...]
    packet_blocks: tuple[Tensor, ...]


class Encoded(NamedTuple):
    """What the encoder makes of packets."""

    mean: Tensor  # [B, P, D] of the posterior
    gain_index: Tensor  # [B, P]
    coefficients: Tensor  # [B, P, frames, bins] of the sound in the waveform layer's transform
    state: EncoderState


class SynthesisTails(NamedTuple):
    """The second slopes of the last frames, [B, overlap] samples each, which the next ones
    overlap.
    """

    voice: Tensor
    noise: Tensor
    linear: Tensor


class Hidden(NamedTuple):
    """What the decoder's networks make of latents, before anything is heard of them."""

    frames: Tensor  # [B, F, decoder_dim] what the head sees
    z: Tensor  # [B, P, D] latents, dequantised
    gain_index: Tensor  # [B, P] held where packets are missing
    packet_blocks: tuple[Tensor, ...]
    frame_blocks: tuple[Tensor, ...]


class Synthesis(NamedTuple):
    """Voice and noise [B, P * packet] each; what the last frame of each packet says of the samples
    behind it, [B, P, overlap]; and the new tails.
    """

    voice: Tensor
    noise: Tensor
    voice_ahead: Tensor
    noise_ahead: Tensor
    tails: SynthesisTails


class DecoderState(NamedTuple):
    """What the decoder remembers between packets."""

    gain_index: Tensor  # [B] of the packet before, held and fading where it was missing
    noise_position: Tensor  # [B] row of the noise table
    tails: SynthesisTails
    packet_blocks: tuple[Tensor, ...]
    frame_blocks: tuple[Tensor, ...]
    noise_envelope: NoiseEnvelopeState
    comb: CombState
    waveform: WaveformState


class VoiceVae(nn.Module):
    """PCM [B, T] -> latents [B, P, D] and gains [B, P] -> PCM delayed by `overlap` samples.

    A linear lapped transform (`skip_in`, `skip_out`) carries the waveform from the first step of
    training on; the networks beside it learn what it cannot do. Gain and shape are split: latents
    see every packet at unit power.
    """

    analysis_slopes: Tensor
    frame_slopes: Tensor
    packet_slopes: Tensor
    noise: Tensor

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        c, enc, dec, latent = config, config.encoder_dim, config.decoder_dim, config.latent_dim

        def stack(count: int, dim: int) -> BlockStack:
            return BlockStack(CausalBlock(dim, c.kernel, c.expansion) for _ in range(count))

        analysis_bins = c.analysis_window // 2 + 1
        self.register_buffer(
            "analysis_slopes", analysis_slopes(c.analysis_window), persistent=False
        )
        self.register_buffer("frame_slopes", sine_slopes(c.frame, c.overlap), persistent=False)
        self.register_buffer(
            "packet_slopes", sine_slopes(c.packet + c.overlap, c.overlap), persistent=False
        )
        # Ships with the weights: two decoders of one stream must play the same noise.
        self.register_buffer(
            "noise", noise_spectra(torch.randn(c.noise_frames * c.hop), c.frame, c.hop)
        )

        self.encoder_in = nn.Linear(3 * analysis_bins, enc)
        self.encoder_frames = stack(c.encoder_blocks[0], enc)
        self.encoder_down = nn.Linear(c.frames_per_packet * enc, enc)
        self.encoder_condition = nn.Linear(4, enc)
        self.encoder_packets = stack(c.encoder_blocks[1], enc)
        self.encoder_norm = nn.LayerNorm(enc)
        self.to_latent = nn.Linear(enc, latent)

        self.from_latent = nn.Linear(latent, dec)
        self.decoder_condition = nn.Linear(5, dec)
        self.decoder_packets = stack(c.decoder_blocks[0], dec)
        self.decoder_up = nn.Linear(dec, c.frames_per_packet * dec)
        self.decoder_frames = stack(c.decoder_blocks[1], dec)
        self.decoder_norm = nn.LayerNorm(dec)
        self.head = nn.Linear(dec, 3 * c.bins)  # log magnitude, phase, log magnitude of noise
        self.noise_envelope = NoiseEnvelope(c.sample_rate, c.hop, c.frames_per_packet, dec)
        self.comb = PitchComb(c.sample_rate, c.hop, dec)

        self.skip_in = nn.Linear(c.packet + c.overlap, latent, bias=False)
        self.skip_out = nn.Linear(latent, c.packet + c.overlap, bias=False)
        self.log_precision = QualityTable(
            c, torch.linspace(-1.6, 0.8, c.quality_knots)[:, None].repeat(1, latent)
        )
        self.prior = Prior(config)
        self.waveform = WaveformLayer(config)
        self.waveform_prior = WaveformPrior(config)
        with torch.no_grad():
            # the network starts quiet: the linear path speaks first
            self.head.bias[: c.bins] -= 3.0
            self.head.bias[2 * c.bins :] -= 4.0
            self.to_latent.weight.mul_(0.05)
            self.to_latent.bias.zero_()

    @torch.no_grad()
    def start_from_klt(self, basis: Tensor, variance: Tensor) -> None:
        """Begin as a transform codec. basis [N, packet + overlap] in rows and variance [N],
        strongest first, of unit-power packets.
        """
        latent = self.config.latent_dim
        self.skip_in.weight.copy_(basis[:latent])
        self.skip_out.weight.copy_(basis[:latent].T)
        scale = torch.log(variance[:latent].sqrt() * 0.5) + self.log_precision.base
        self.prior.log_scale.base.copy_(scale.clamp_min(-2.5))

    def tables(self) -> EntropyTables:
        """The integer tables of both priors, as training left them."""
        return self.prior.tables(self.waveform_prior.tables())

    def initial_encoder_state(self, batch: int) -> EncoderState:
        c = self.config
        return EncoderState(
            history=self.noise.new_zeros(batch, c.analysis_window - c.hop),
            gain_index=self.noise.new_full((batch,), GAIN_MIN),
            frame_blocks=self.encoder_frames.initial_state(batch),
            packet_blocks=self.encoder_packets.initial_state(batch),
        )

    def initial_decoder_state(self, batch: int) -> DecoderState:
        tail = self.noise.new_zeros(batch, self.config.overlap)
        return DecoderState(
            gain_index=self.noise.new_full((batch,), GAIN_MIN),
            noise_position=torch.zeros(batch, dtype=torch.long, device=self.noise.device),
            tails=SynthesisTails(tail, tail, tail),
            packet_blocks=self.decoder_packets.initial_state(batch),
            frame_blocks=self.decoder_frames.initial_state(batch),
            noise_envelope=self.noise_envelope.initial_state(batch),
            comb=self.comb.initial_state(batch),
            waveform=self.waveform.initial_state(batch),
        )

    def encode(self, x: Tensor, quality: Tensor, state: EncoderState) -> Encoded:
        """x [B, P * packet] in -1..1, quality [B, P] in 0..2 (see `VaeConfig.level_qualities`)."""
        c = self.config
        past = torch.cat([state.history, x], 1)
        # Over the whole lapped frame: a packet of silence behind speech still carries the end of
        # that speech.
        sound = past[:, c.analysis_window - c.hop - c.overlap :]
        lapped = sound.unfold(1, c.packet + c.overlap, c.packet)
        gain_index = self.gain_index(lapped)
        gain = torch.exp2(gain_index / GAIN_STEPS_PER_OCTAVE)[..., None]
        with torch.autocast(x.device.type, enabled=False):
            frames = past.unfold(1, c.analysis_window, c.hop) / gain.repeat_interleave(
                c.frames_per_packet, 1
            )
            real, imag = torch.view_as_real(torch.fft.rfft(frames * self.analysis_slopes)).unbind(
                -1
            )
            energy = real.square() + imag.square() + 1e-6
            # power-compressed: the ear's loudness is nearer to |X|^0.3 than to |X|
            shrink = energy.pow(-0.35)
            features = torch.cat([real * shrink, imag * shrink, torch.log(energy) * 0.15], -1)
            linear = self.skip_in(lapped / gain)
            coefficients = self.waveform.analyse(sound, gain[..., 0])
        h, frame_blocks = self.encoder_frames.step(self.encoder_in(features), state.frame_blocks)
        before = torch.cat([state.gain_index[:, None], gain_index[:, :-1]], 1)
        h = self.encoder_down(h.reshape(len(x), -1, c.frames_per_packet * c.encoder_dim))
        h = h + self.encoder_condition(self._condition(quality, gain_index, before))
        h, packet_blocks = self.encoder_packets.step(h, state.packet_blocks)
        z = self.to_latent(self.encoder_norm(h)).float() + linear
        mean = z * torch.exp(self.log_precision(quality))
        after = EncoderState(past[:, x.shape[1] :], gain_index[:, -1], frame_blocks, packet_blocks)
        return Encoded(mean, gain_index, coefficients, after)

    def gain_index(self, lapped: Tensor) -> Tensor:
        """Packets with the overlap before them [B, P, packet + overlap] -> steps of their power [B,
        P].
        """
        steps = torch.round(
            GAIN_STEPS_PER_OCTAVE / 2 * torch.log2(lapped.square().mean(-1) + 1e-12)
        )
        return steps.clamp(GAIN_MIN, GAIN_MIN + GAIN_COUNT - 1)

    def decode(
        self,
        y: Tensor,
        gain_index: Tensor,
        quality: Tensor,
        lost: Tensor,
        state: DecoderState,
        waveform: Waveform | None = None,
    ) -> tuple[Tensor, DecoderState]:
        """y [B, P, D], gain_index, quality, lost (bool) [B, P] and what packets say of the waveform
        layer -> x [B, P * packet], new state. Where lost, none of these is read.
        """
        sound, held, after = self.base(y, gain_index, quality, lost, state)
        gain = torch.exp2(held / GAIN_STEPS_PER_OCTAVE)
        x, layer = self.waveform.step(sound, gain, waveform, state.waveform)
        return x, after._replace(waveform=layer)

    def base(
        self, y: Tensor, gain_index: Tensor, quality: Tensor, lost: Tensor, state: DecoderState
    ) -> tuple[BaseSound, Tensor, DecoderState]:
        """`decode` without the waveform layer, which the encoder runs too -> sound, held gain index
        [B, P], new state.
        """
        hidden = self.hidden(y, gain_index, quality, lost, state)
        parts = self.synthesise(hidden, state.noise_position, state.tails)
        with torch.autocast(y.device.type, enabled=False):
            sound, noise_envelope, comb = self.join(parts, hidden.frames.float(), state)
        position = (state.noise_position + hidden.frames.shape[1]) % self.config.noise_frames
        after = DecoderState(
            hidden.gain_index[:, -1],
            position,
            parts.tails,
            hidden.packet_blocks,
            hidden.frame_blocks,
            noise_envelope,
            comb,
            state.waveform,
        )
        return sound, hidden.gain_index, after

    def hidden(
        self, y: Tensor, gain_index: Tensor, quality: Tensor, lost: Tensor, state: DecoderState
    ) -> Hidden:
        """What the head sees of a stream, as `decode` makes it."""
        c = self.config
        gain_index, before = _hold_gain(gain_index, lost, state.gain_index)
        z = y * torch.exp(-self.log_precision(quality)) * ~lost[..., None]
        condition = self._condition(quality, gain_index, before, lost.to(z.dtype))
        h = self.from_latent(z) + self.decoder_condition(condition)
        h, packet_blocks = self.decoder_packets.step(h, state.packet_blocks)
        h = self.decoder_up(h).reshape(len(y), -1, c.decoder_dim)
        h, frame_blocks = self.decoder_frames.step(h, state.frame_blocks)
        return Hidden(self.decoder_norm(h), z.float(), gain_index, packet_blocks, frame_blocks)

    def _condition(
        self, quality: Tensor, gain_index: Tensor, gain_before: Tensor, *more: Tensor
    ) -> Tensor:
        """[B, P, 4 or more]: what both networks are told beside their input; last of all, how much
        the waveform layer will say.
        """
        rise = (gain_index - gain_before).clamp(-16, 16) / 8
        base = base_quality(self.config, quality)
        layer = layer_condition(quality)
        return torch.stack([base, gain_index * 0.0375, rise, *more, layer], -1)

    def synthesise(
        self, hidden: Hidden, noise_position: Tensor, tails: SynthesisTails
    ) -> Synthesis:
        """Hidden frames and latents -> voice and noise, which begins at `noise_position` [B]."""
        c, z = self.config, hidden.z
        gain = torch.exp2(hidden.gain_index / GAIN_STEPS_PER_OCTAVE)[..., None]
        frames = self.synthesis_frames(hidden.frames, noise_position)
        with torch.autocast(z.device.type, enabled=False):
            frames = frames * gain.repeat_interleave(c.frames_per_packet, 1)
            lapped = self.skip_out(z) * gain
            voice, voice_tail = overlap_add(frames[0] * self.frame_slopes, tails.voice)
            noise, noise_tail = overlap_add(frames[1] * self.frame_slopes, tails.noise)
            linear, linear_tail = overlap_add(lapped * self.packet_slopes, tails.linear)
            ahead = frames[:, :, c.frames_per_packet - 1 :: c.frames_per_packet, c.hop :]
        return Synthesis(
            voice + linear,
            noise,
            ahead[0] + lapped[..., c.packet :],
            ahead[1],
            SynthesisTails(voice_tail, noise_tail, linear_tail),
        )

    def synthesis_frames(self, hidden: Tensor, noise_position: Tensor) -> Tensor:
        """Hidden frames [B, F, decoder_dim] -> those of the voice and those of the noise [2, B, F,
        frame], at unit gain, before their slopes.
        """
        c = self.config
        head = self.head(hidden).float()
        rows = (
            noise_position[:, None] + torch.arange(head.shape[1], device=head.device)
        ) % c.noise_frames
        with torch.autocast(head.device.type, enabled=False):
            magnitude = torch.exp(head[..., : c.bins].clamp(max=LOG_MAGNITUDE_LIMIT))
            phase = head[..., c.bins : 2 * c.bins]
            breath = torch.exp(head[..., 2 * c.bins :].clamp(max=LOG_MAGNITUDE_LIMIT))
            voice = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
            real, imag = self.noise[rows].chunk(2, -1)
            frames: Tensor = torch.fft.irfft(
                torch.stack([voice, torch.complex(real * breath, imag * breath)]), n=c.frame
            )
        return frames

    def join(
        self, parts: Synthesis, hidden: Tensor, state: DecoderState
    ) -> tuple[BaseSound, NoiseEnvelopeState, CombState]:
        """Voice and noise -> their sound, new states."""
        swell, noise_envelope = self.noise_envelope.step(parts.voice, hidden, state.noise_envelope)
        packet = self.config.packet
        ahead = parts.voice_ahead + swell[:, packet - 1 :: packet, None] * parts.noise_ahead
        x, ahead, comb = self.comb.step_with_ahead(
            parts.voice + swell * parts.noise, hidden, state.comb, ahead
        )
        return BaseSound(x, ahead), noise_envelope, comb


def _hold_gain(gain_index: Tensor, lost: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Gain of each packet [B, P] with missing ones fading from the last that came, and that of the
    packet before each.
    """
    packets = torch.arange(lost.shape[1], device=lost.device)
    last = torch.cummax(torch.where(lost, -1, packets), 1).values
    source = torch.where(last < 0, before[:, None], gain_index.gather(1, last.clamp_min(0)))
    held = torch.where(
        lost, (source - HELD_GAIN_DECAY * (packets - last)).clamp_min(GAIN_MIN), gain_index
    )
    return held, torch.cat([before[:, None], held[:, :-1]], 1)

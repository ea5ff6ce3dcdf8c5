import pytest
import torch

from conftest import SMALL
from streamcodec_models.vae import VoiceVae
from streamcodec_training.parameters import split_parameters
from streamcodec_training.soap import Soap
from streamcodec_training.variants import LinearHeadVae, RecurrentVae, UnsplitVae


@pytest.mark.parametrize("build", [RecurrentVae, UnsplitVae, LinearHeadVae])
def test_a_variant_steps_like_it_runs_and_learns(build: type[VoiceVae]) -> None:
    torch.manual_seed(0)
    vae = build(SMALL)
    x = torch.randn(2, 12 * SMALL.packet) * 0.1
    quality, lost = torch.full((2, 12), 0.5), torch.zeros(2, 12, dtype=torch.bool)
    lost[:, 5] = True
    with torch.no_grad():
        mean, gain, _ = vae.encode(x, quality, vae.initial_encoder_state(2))
        whole, _ = vae.decode(mean, gain, quality, lost, vae.initial_decoder_state(2))
        encoder, decoder, parts = vae.initial_encoder_state(2), vae.initial_decoder_state(2), []
        for start, end in ((0, 1), (1, 4), (4, 12)):
            pcm = x[:, start * SMALL.packet : end * SMALL.packet]
            y, g, encoder = vae.encode(pcm, quality[:, start:end], encoder)
            part, decoder = vae.decode(y, g, quality[:, start:end], lost[:, start:end], decoder)
            parts.append(part)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)
    out, bits = vae(x, torch.rand(2), lost, torch.tensor(0.5))
    (out.square().mean() + bits.mean()).backward()
    assert all(p.grad is not None for p in split_parameters(vae)[0])


def test_soap_learns_directions_of_which_little_is_heard() -> None:
    torch.manual_seed(0)
    # a hundredth of the amplitude
    inputs = torch.diag(torch.logspace(0, -2, 12)) @ torch.linalg.qr(torch.randn(12, 12))[0]
    wanted, errors = torch.randn(12, 8), {}
    for name in ("soap", "sgd"):
        weight = torch.zeros(12, 8, requires_grad=True)
        optimizer = Soap([weight], lr=1e-2) if name == "soap" else torch.optim.SGD([weight], lr=1.0)
        for _ in range(600):
            optimizer.zero_grad()
            (
                (torch.randn(32, 12) @ inputs @ (weight - wanted)) + 0.01 * torch.randn(32, 8)
            ).square().mean().backward()
            optimizer.step()
        errors[name] = (weight - wanted).detach().norm() / wanted.norm()
    assert errors["soap"] < 0.2 < 0.5 < errors["sgd"]

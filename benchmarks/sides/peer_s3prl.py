"""s3prl: APC, VQ-APC, NPC, Mockingjay and TERA pretraining as its recipes have them, with frames computed for
each batch.

On both sides frames are 80 log-mel energies every 10 ms, standardised over the utterance. s3prl computes them
utterance by utterance, as its loaders do. What else differs:

- APC: both predict 5 frames ahead from three GRUs with dropout of 0.1 and residual connections. Its first
  GRU reads the frames themselves, where ours projects them to its width (see ours.py), its dropout acts
  behind the last layer too, and it packs sequences between the layers.
- VQ-APC: the same, and behind the last layer a codebook of 512 with a temperature of 0.5. Ours gives two
  perplexities of the codes for its figures, where s3prl counts them.
- NPC: both have four blocks, of kernels of 15 with 5 frames hidden, residual, with dropout of 0.1, and four
  codebooks of 64 with a temperature of 1. s3prl's blocks have batch normalisation, ours layer normalisation;
  its first block reads the frames themselves, where ours projects them to its width, and has a shortcut as
  the others; each of its codebooks is looked up by a quarter of the channels, ours by all. Figures as in
  VQ-APC.
- What VQ-APC's and NPC's codebooks are looked up by is cast to single precision, because s3prl counts the
  codes in NumPy, which has no bfloat16.
- Mockingjay and TERA: both hide 15 % of the frames in spans of 7, which may overlap, and restore them from a
  post-norm Transformer with dropout of 0.1; TERA hides up to 20 % of the channels too, and adds noise to 15 %
  of the utterances (s3prl: of the batches). It adds sinusoids (an addition a frame), where ours is set to
  have no positions; ours has dropout between a block's two feed-forward layers too; it applies the head to
  all frames, ours to those that are restored.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchaudio
from serve import MELS, Work, audio, serve, size, training

for gone in ("set_audio_backend", "list_audio_backends", "sox_effects"):  # s3prl asks for older names
    if not hasattr(torchaudio, gone):
        setattr(torchaudio, gone, lambda *_: [])
installed = importlib.util.find_spec("s3prl")
assert installed is not None
assert installed.origin is not None
sys.path.append(str(Path(installed.origin).parent))  # what trains imports from there

from pretrain.mockingjay.pretrain_expert import TransformerForMaskedAcousticModel  # noqa: E402
from pretrain.mockingjay.task import generate_masked_acoustic_model_data  # noqa: E402
from upstream.apc.apc import APC  # noqa: E402
from upstream.apc.audio import create_transform  # noqa: E402
from upstream.baseline.extracter import get_extracter  # noqa: E402
from upstream.mockingjay.model import TransformerConfig  # noqa: E402
from upstream.npc.npc import NPC  # noqa: E402

SHIFT = 5
FRAMES = {
    "kaldi": {"feat_type": "fbank", "fbank": {"num_mel_bins": MELS, "frame_length": 25, "frame_shift": 10}},
    "delta": {"order": 0},
    "cmvn": {"use_cmvn": True},
}
ALTERED = {
    "mask_proportion": 0.15,
    "mask_consecutive_min": 7,
    "mask_consecutive_max": 7,
    "mask_allow_overlap": True,
    "mask_frequency": 0.0,
    "noise_proportion": 0.0,
}


def frames_of(task: dict[str, Any]) -> Callable[[], torch.Tensor]:
    """What computes the frames of APC, VQ-APC and NPC, `batch time mels`."""
    waves = audio(task)
    extract, _ = create_transform(
        {"feat_type": "fbank", "feat_dim": MELS, "frame_length": 25, "frame_shift": 10}
    )
    return lambda: torch.stack([extract(wave[None]) for wave in waves])


def codebooks(dim: int, *, groups: int, entries: int, temperature: float) -> dict[str, Any]:
    return {
        "codebook_size": [entries] * groups,
        "code_dim": [dim // groups] * groups,
        "gumbel_temperature": temperature,
    }


def in_single_precision(model: torch.nn.Module) -> None:
    for codebook in model.vq_layers:
        codebook.vq_logits.register_forward_hook(lambda _, __, logits: logits.float())


def ahead(task: dict[str, Any], model: torch.nn.Module) -> Work:
    """Predicts each frame from the one SHIFT before it."""
    compute = frames_of(task)

    def loss() -> torch.Tensor:
        frames = compute()
        lengths = [frames.shape[1] - SHIFT] * len(frames)
        predicted, _ = model(frames[:, :-SHIFT], lengths, testing=False)
        return torch.nn.functional.l1_loss(predicted, frames[:, SHIFT:])

    return training(model, loss, task)


def apc(task: dict[str, Any]) -> Work:
    sizes = size(task, "gru")
    return ahead(task, APC(MELS, sizes["dim"], sizes["layers"], dropout=0.1, residual=True))


def vq_apc(task: dict[str, Any]) -> Work:
    sizes = size(task, "gru")
    vq = codebooks(sizes["dim"], groups=1, entries=512, temperature=0.5)
    model = APC(MELS, sizes["dim"], sizes["layers"], dropout=0.1, residual=True, vq=vq)
    in_single_precision(model)
    return ahead(task, model)


def npc(task: dict[str, Any]) -> Work:
    sizes, compute = size(task, "masked_convolutions"), frames_of(task)
    vq = codebooks(sizes["dim"], groups=4, entries=64, temperature=1.0)
    model = NPC(
        MELS, sizes["dim"], sizes["layers"], dropout=0.1, residual=True, kernel_size=15, mask_size=5, vq=vq
    )
    in_single_precision(model)

    def loss() -> torch.Tensor:
        frames = compute()
        return torch.nn.functional.l1_loss(model(frames)[0], frames)

    return training(model, loss, task)


def restoring(task: dict[str, Any], altered: dict[str, Any]) -> Work:
    sizes, waves = size(task, "transformer"), audio(task)
    extract, dim, _ = get_extracter(FRAMES)
    config = TransformerConfig(
        {
            "hidden_size": sizes["dim"],
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
            "intermediate_size": sizes["feedforward"],
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "share_layer": False,
            "pre_layer_norm": False,
        }
    )
    model = TransformerForMaskedAcousticModel(config, dim, output_dim=None)
    settings = {**altered, "position_encoding_size": sizes["dim"]}

    def loss() -> torch.Tensor:
        frames = torch.stack([extract(wave) for wave in waves])
        values, positions, *rest = generate_masked_acoustic_model_data((frames,), settings)
        value, _ = model(values, positions.expand(len(values), -1, -1), *rest)
        return value

    return training(model, loss, task)


def mockingjay(task: dict[str, Any]) -> Work:
    return restoring(task, ALTERED)


def tera(task: dict[str, Any]) -> Work:
    return restoring(task, {**ALTERED, "mask_frequency": 0.2, "noise_proportion": 0.15})


if __name__ == "__main__":
    serve({"apc": apc, "vq_apc": vq_apc, "npc": npc, "mockingjay": mockingjay, "tera": tera})

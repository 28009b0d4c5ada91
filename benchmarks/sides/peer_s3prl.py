"""s3prl: APC pretraining as its recipe has it, with frames computed for each batch.

Both sides predict 5 frames ahead of 80 log-mel energies, standardised over the utterance, from three GRUs
with dropout of 0.1 and residual connections. What differs: its first GRU reads the frames themselves, where
ours projects them to its width (see ours.py), its dropout acts behind the last layer too, it computes the
energies utterance by utterance, as its loader does, and it packs sequences between the layers.
"""

from typing import Any

import torch
import torchaudio
from serve import MELS, Work, audio, serve, size, training

for gone in ("set_audio_backend", "list_audio_backends", "sox_effects"):  # s3prl asks for older names
    if not hasattr(torchaudio, gone):
        setattr(torchaudio, gone, lambda *_: [])

from s3prl.upstream.apc.apc import APC  # noqa: E402
from s3prl.upstream.apc.audio import create_transform  # noqa: E402

SHIFT = 5


def apc(task: dict[str, Any]) -> Work:
    sizes, waves = size(task, "gru"), audio(task)
    extract, dim = create_transform(
        {"feat_type": "fbank", "feat_dim": MELS, "frame_length": 25, "frame_shift": 10}
    )
    model = APC(dim, sizes["dim"], sizes["layers"], dropout=0.1, residual=True)

    def loss() -> torch.Tensor:
        frames = torch.stack([extract(wave[None]) for wave in waves])
        lengths = [frames.shape[1] - SHIFT] * len(frames)
        predicted, _ = model(frames[:, :-SHIFT], lengths, testing=False)
        return torch.nn.functional.l1_loss(predicted, frames[:, SHIFT:])

    return training(model, loss, task)


if __name__ == "__main__":
    serve({"apc": apc})

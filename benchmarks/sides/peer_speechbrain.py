"""SpeechBrain: BEST-RQ and wav2vec 2.0 pretraining as its LibriSpeech recipes have them.

Beside it ours has the same sizes, dropout of 0.1 in the same places, and as many hidden frames, negatives and
codes. What differs:

- BEST-RQ: its attention has rotary positions like ours (the recipe's relative ones are slower) and dropout on
  its weights where ours has dropout on its output; two convolutions make one frame of four, which ours puts
  side by side; GELU is SiLU in ours. The recipe hides 60 % of the frames, as ours does here, the same ones in
  all utterances, and predicts all frames' labels before it chooses the hidden ones. Its chunks for streaming
  are left out, and 2304 hidden units stand in for 2048 between the layers of 576.
- wav2vec 2.0: positions are sinusoids, where ours has none. The recipe's last two kernels are 3 wide where
  the paper's, taken here, are 2, and it has 8 heads where 12 are taken; its probability of 0.65 would hide
  70 % of the frames, 0.44 hides the 49 % of the paper and of ours.
"""

from functools import partial
from typing import Any

import torch
from serve import MELS, STACK, Work, audio, serve, size, training
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models import BESTRQ, wav2vec
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.Transformer import TransformerEncoder
from speechbrain.lobes.models.transformer.TransformerASR import EncoderWrapper, TransformerASR
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ContrastiveLoss
from speechbrain.nnet.quantisers import RandomProjectionQuantizer
from speechbrain.processing.features import InputNormalization
from torch import Tensor, nn
from torch.nn import functional as F

CODES = 8192
KERNELS, STRIDES = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
NEGATIVES = 100


def best_rq(task: dict[str, Any]) -> Work:
    sizes, waves = size(task, "conformer"), audio(task)
    lengths = torch.ones(len(waves))
    convolutions = ConvolutionFrontEnd(
        (len(waves), 10, MELS),
        num_blocks=2,
        num_layers_per_block=1,
        out_channels=(128, 32),
        kernel_sizes=(3, 3),
        strides=(2, 2),
        residuals=(False, False),
    )
    conformer = TransformerASR(
        tgt_vocab=1,
        input_size=32 * MELS // STACK,
        d_model=sizes["dim"],
        nhead=sizes["heads"],
        num_encoder_layers=sizes["layers"],
        num_decoder_layers=0,
        d_ffn=sizes["dim"] * sizes["expansion"],
        dropout=0.1,
        activation=nn.GELU,
        conformer_activation=nn.GELU,
        encoder_module="conformer",
        attention_type="RoPEMHA",
        normalize_before=True,
        causal=False,
    )
    encoder = EncoderWrapper(conformer)
    predict = Linear(n_neurons=CODES, input_size=sizes["dim"])
    quantize = RandomProjectionQuantizer(MELS * STACK, 16, CODES)
    features, normalize = Fbank(n_fft=400, n_mels=MELS), InputNormalization(norm_type="sentence")

    def loss() -> Tensor:
        frames = normalize(features(waves), lengths)
        time = frames.shape[1]
        frames = F.pad(frames, (0, 0, 0, -time % STACK))
        hidden = BESTRQ.compute_mask(frames.shape, [time] * len(frames), 0.15, STACK)
        groups = hidden[::STACK] // STACK
        labels = quantize(frames.unflatten(1, (-1, STACK)).flatten(2)[:, groups])
        frames[:, hidden] = 0.1 * torch.randn(len(frames), len(hidden), MELS)
        scores = predict(encoder(convolutions(frames), lengths))[:, groups]
        return F.cross_entropy(scores.flatten(0, 1), labels.flatten())

    return training(nn.ModuleList([convolutions, encoder, predict]), loss, task)


def wav2vec2(task: dict[str, Any]) -> Work:
    sizes, waves = size(task, "wav2vec2"), audio(task)
    lengths = torch.ones(len(waves))
    extractor = wav2vec.W2VLatentExtractor([sizes["channels"]] * len(KERNELS), KERNELS, STRIDES)
    transformer = TransformerEncoder(
        d_model=sizes["dim"],
        num_layers=sizes["layers"],
        nhead=sizes["heads"],
        d_ffn=sizes["feedforward"],
        dropout=0.1,
        normalize_before=True,
        activation=nn.GELU,
    )
    encoder = wav2vec.EncoderWrapper(sizes["channels"], sizes["dim"], transformer, dropout_encoder_input=0.1)
    quantize = wav2vec.W2VTargetQuantiser(sizes["channels"], 256)
    project = nn.Linear(sizes["dim"], 256)
    contrast = ContrastiveLoss(0.1)
    samples = torch.full((len(waves),), waves.shape[1])
    counts = extractor.get_output_lengths(samples).tolist()
    masks = partial(wav2vec.compute_mask, (len(waves), max(counts)), counts, 0.44, 10)

    def loss() -> Tensor:
        mask = torch.from_numpy(masks())
        latents = extractor(waves, normalize_signal=False)
        context = encoder(latents, mask=mask, wav_lens=lengths)
        embedded = project(context["embeddings"][mask]).unflatten(0, (len(waves), -1))
        targets, told = quantize(latents[mask].unflatten(0, (len(waves), -1)))
        value, _ = contrast(embedded, targets, wav2vec.sample_negatives(targets, NEGATIVES))
        return value + 0.1 * told["diversity_loss"] * context["num_masked"]

    return training(nn.ModuleList([extractor, encoder, quantize, project]), loss, task)


if __name__ == "__main__":
    serve({"best_rq": best_rq, "wav2vec2": wav2vec2})

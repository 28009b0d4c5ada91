"""transformers: wav2vec 2.0 pretraining and CTC fine-tuning as its examples have them, HuBERT, and features.

Sizes, spans of hidden frames and channels, negatives and labels are as ours has them; dropout is that of its
default configurations, .1 everywhere, and ours has the same. What differs:

- wav2vec 2.0: it quantises all frames, where ours quantises the hidden ones, and leaves out the penalty on
  the features.
- HuBERT: transformers has the network and its spans of hidden frames, but neither loss nor labels. What
  stands behind the network is written here: a projection to 256 dimensions, cosines with an embedding of each
  cluster, and cross-entropy over the hidden frames. Ours scores the other frames too, for its figures, and
  penalises the features. Both are given the same labels: naming frames is no part of the step.
"""

from typing import Any

import torch
from serve import Work, audio, autocast, parameters, serve, size, training, units
from torch import nn
from torch.nn import functional as F
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices


def network(task: dict[str, Any]) -> dict[str, Any]:
    """What wav2vec 2.0 and HuBERT have in common."""
    sizes = size(task, "wav2vec2")
    return {
        "hidden_size": sizes["dim"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["feedforward"],
        "conv_dim": (sizes["channels"],) * 7,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
    }


def config(task: dict[str, Any], *, channel_mask: float = 0.0) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        **network(task),
        mask_time_prob=0.65,
        mask_feature_prob=channel_mask,
        mask_feature_length=64,
        feat_quantizer_dropout=0.0,
        final_dropout=0.1,
        vocab_size=32,
        ctc_zero_infinity=True,
    )


def wav2vec2(task: dict[str, Any]) -> Work:
    model, inputs = Wav2Vec2ForPreTraining(config(task)), audio(task)
    frames = int(model._get_feat_extract_output_lengths(inputs.shape[1]))

    def loss() -> torch.Tensor:
        shape = (len(inputs), frames)
        mask = _compute_mask_indices(shape, 0.65, 10, min_masks=2)
        negatives = _sample_negative_indices(shape, model.config.num_negatives, mask)
        outputs = model(
            inputs,
            mask_time_indices=torch.from_numpy(mask),
            sampled_negative_indices=torch.from_numpy(negatives),
        )
        return outputs.loss / float(mask.sum())

    return training(model, loss, task)


def hubert(task: dict[str, Any]) -> Work:
    model, inputs = HubertModel(HubertConfig(**network(task), mask_time_prob=0.8)), audio(task)
    project = nn.Linear(model.config.hidden_size, 256)
    clusters = nn.Embedding(task["codes"], 256)
    frames = int(model._get_feat_extract_output_lengths(inputs.shape[1]))
    labels = units(task, frames)

    def loss() -> torch.Tensor:
        hidden = torch.from_numpy(_compute_mask_indices((len(inputs), frames), 0.8, 10, min_masks=2))
        outputs = project(model(inputs, mask_time_indices=hidden).last_hidden_state[hidden])
        cosines = F.normalize(outputs.float(), dim=-1) @ F.normalize(clusters.weight, dim=-1).T
        return F.cross_entropy(cosines / 0.1, labels[hidden])

    return training(nn.ModuleList([model, project, clusters]), loss, task)


def ctc(task: dict[str, Any]) -> Work:
    model, inputs = Wav2Vec2ForCTC(config(task, channel_mask=0.5)), audio(task)
    model.freeze_feature_encoder()
    labels = torch.randint(1, 32, (len(inputs), 40))
    return training(model, lambda: model(inputs, labels=labels).loss, task)


def features(task: dict[str, Any]) -> Work:
    model, inputs = Wav2Vec2Model(config(task)).eval(), audio(task)

    def step() -> float:
        with torch.inference_mode(), autocast(task):
            return float(model(inputs, output_hidden_states=True).hidden_states[-1].float().mean())

    return Work(step, parameters(model))


if __name__ == "__main__":
    serve({"wav2vec2": wav2vec2, "hubert": hubert, "ctc": ctc, "features": features})

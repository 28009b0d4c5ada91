"""fairseq: wav2vec 2.0, HuBERT and data2vec pretraining, as its configurations of base size have them.

Dropout is that of its configurations: .1 in the layers and of attention's weights, none between the two
feed-forward layers, where ours has it. What is embedded in place of hidden frames has single precision, which
its own indexing needs under autocast. Both sides get the same labels of HuBERT, and like ours it is not given
the loss over frames that are not hidden.

data2vec's positions are five convolutions that see 95 frames in all, where ours has one of 128; no layers are
dropped at random, as in ours. The teacher's parameters count on both sides.
"""

from dataclasses import replace
from itertools import count
from typing import Any

import torch
from fairseq.examples.data2vec.models.data2vec_audio import Data2VecAudioConfig, Data2VecAudioModel
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from serve import TOP_LAYERS, Work, audio, parameters, serve, size, training, units
from torch.nn import functional as F

STRIDE, RATE = 320, 16000


def network(task: dict[str, Any]) -> dict[str, Any]:
    """What both have in common."""
    sizes = size(task, "wav2vec2")
    width = sizes["channels"]
    return {
        "conv_feature_layers": f"[({width},10,5)] + [({width},3,2)] * 4 + [({width},2,2)] * 2",
        "encoder_embed_dim": sizes["dim"],
        "encoder_layers": sizes["layers"],
        "encoder_attention_heads": sizes["heads"],
        "encoder_ffn_embed_dim": sizes["feedforward"],
        "final_dim": 256,
        "dropout_input": 0.1,
        "dropout_features": 0.1,
        "encoder_layerdrop": 0.0,
        "feature_grad_mult": 0.1,
    }


def in_single_precision(model: torch.nn.Module) -> None:
    model.post_extract_proj.register_forward_hook(lambda _, __, frames: frames.float())


def wav2vec2(task: dict[str, Any]) -> Work:
    model, inputs = Wav2Vec2Model(Wav2Vec2Config(**network(task), quantize_targets=True)), audio(task)
    in_single_precision(model)

    def loss() -> torch.Tensor:
        output = model(inputs, padding_mask=None, mask=True)
        logits = model.get_logits(output).float()
        diversity, penalty = model.get_extra_losses(output)
        contrastive = F.cross_entropy(logits, model.get_targets(None, output))
        return contrastive + 0.1 * diversity.float() + 10 * penalty.float()

    return training(model, loss, task)


def hubert(task: dict[str, Any]) -> Work:
    config = HubertConfig(**network(task), label_rate=RATE / STRIDE, mask_prob=0.8, skip_nomask=True)
    inputs = audio(task)
    model = HubertModel(config, HubertPretrainingConfig(sample_rate=RATE), [range(task["codes"])])
    in_single_precision(model)
    with torch.no_grad():
        frames = model.forward_features(inputs[:1]).shape[2]
    labels, padding = units(task, frames), torch.zeros(inputs.shape, dtype=torch.bool)

    def loss() -> torch.Tensor:
        output = model(inputs, target_list=[labels], padding_mask=padding, mask=True)
        (logits,), (targets,) = model.get_logits(output), model.get_targets(output)
        (penalty,), _ = model.get_extra_losses(output)
        return F.cross_entropy(logits, targets) + 10 * penalty

    return training(model, loss, task)


def data2vec(task: dict[str, Any]) -> Work:
    config = Data2VecAudioConfig(
        **{**network(task), "dropout_input": 0.0, "feature_grad_mult": 1.0},
        extractor_mode="layer_norm",
        pos_conv_depth=5,
        conv_pos=95,
        average_top_k_layers=min(TOP_LAYERS, size(task, "wav2vec2")["layers"]),
        instance_norm_target_layer=True,
        ema_anneal_end_step=30_000,
        max_update=400_000,
        require_same_masks=True,
    )
    model, inputs, updates = Data2VecAudioModel(config), audio(task), count()
    in_single_precision(model)
    model.set_num_updates(0)  # makes the teacher

    def loss() -> torch.Tensor:
        model.set_num_updates(next(updates))  # the teacher follows what the last step has changed
        output = model(inputs)
        return output["losses"]["regression"] / output["sample_size"]

    work = training(model, loss, task)
    return replace(work, parameters=work.parameters + parameters(model.ema.model))


if __name__ == "__main__":
    serve({"wav2vec2": wav2vec2, "hubert": hubert, "data2vec": data2vec})

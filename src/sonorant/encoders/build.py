"""From settings to an encoder."""

from typing import assert_never

from sonorant.config import Config
from sonorant.encoders.base import Context, Encoder, Frontend
from sonorant.encoders.conformer import Conformer, ConformerConfig
from sonorant.encoders.convolutions import Convolutions, ConvolutionsConfig
from sonorant.encoders.log_mel import LogMel, LogMelConfig
from sonorant.encoders.masked_convolutions import MaskedConvolutions, MaskedConvolutionsConfig
from sonorant.encoders.pointwise import Pointwise, PointwiseConfig
from sonorant.encoders.qrnn import QRNN, QRNNConfig
from sonorant.encoders.recurrent import GRUConfig, LSTMConfig, Recurrent
from sonorant.encoders.sinc import Sinc, SincConfig
from sonorant.encoders.sizes import Probability
from sonorant.encoders.transformer import Transformer, TransformerConfig

FrontendConfig = LogMelConfig | ConvolutionsConfig | SincConfig
ContextConfig = (
    GRUConfig
    | LSTMConfig
    | QRNNConfig
    | TransformerConfig
    | ConformerConfig
    | MaskedConvolutionsConfig
    | PointwiseConfig
)


class EncoderConfig(Config, frozen=True, kw_only=True):
    """The parts of an encoder; `dropout` acts on the projected frames."""

    frontend: FrontendConfig
    context: ContextConfig
    dropout: Probability = 0.0


def build(config: EncoderConfig) -> Encoder:
    return Encoder(frontend(config.frontend), context(config.context), dropout=config.dropout)


def frontend(config: FrontendConfig) -> Frontend:
    match config:
        case LogMelConfig():
            return LogMel(config)
        case ConvolutionsConfig():
            return Convolutions(config)
        case SincConfig():
            return Sinc(config)
        case _:
            assert_never(config)


def context(config: ContextConfig) -> Context:
    match config:
        case GRUConfig() | LSTMConfig():
            return Recurrent(config)
        case QRNNConfig():
            return QRNN(config)
        case TransformerConfig():
            return Transformer(config)
        case ConformerConfig():
            return Conformer(config)
        case MaskedConvolutionsConfig():
            return MaskedConvolutions(config)
        case PointwiseConfig():
            return Pointwise(config)
        case _:
            assert_never(config)

"""What a method that predicts frames asks of an encoder."""

from sonorant.encoders.base import Encoder


def check_fixed_frames(encoder: Encoder, method: str) -> None:
    """ValueError if the front end learns."""
    if any(True for _ in encoder.frontend.parameters()):
        raise ValueError(
            f"{method}: predicts the front end's frames, and a front end that learns would make them "
            "easy: choose log_mel for encoder.frontend"
        )


def check_causal(encoder: Encoder, method: str) -> None:
    """ValueError if the context sees the future."""
    if not encoder.context.causal:
        raise ValueError(
            f"{method}: predicts the future, which encoder.context sees already: choose a causal one"
        )

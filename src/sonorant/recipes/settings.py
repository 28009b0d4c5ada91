"""The configurations of whole runs, and what is built from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from sonorant.asr.subwords import VocabularyConfig
from sonorant.config import Config, ConfigError, convert
from sonorant.data.dataset import DataConfig
from sonorant.data.label_masks import LabelMaskConfig
from sonorant.encoders.base import Encoder
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.information import InformationConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.train import checkpoint
from sonorant.train.loop import TrainConfig


class ScoreConfig(Config, frozen=True, kw_only=True):
    """The label-free score of each checkpoint, on speech that is not trained on."""

    manifest: str
    minutes: Annotated[float, Meta(gt=0)] = 10.0  # of the manifest's audio, at most
    layers: tuple[str, ...] | None = None  # of which the best one counts; null: all
    patience: Annotated[int, Meta(ge=1)] | None = (
        None  # scorings without a rise beyond the interval; then stop
    )
    information: InformationConfig = InformationConfig()


class PretrainConfig(Config, frozen=True, kw_only=True):
    """A pretraining run."""

    out: str  # the run's folder
    data: DataConfig
    encoder: EncoderConfig
    objective: dict[str, Any]  # `name` and the settings of that method
    train: TrainConfig
    score: ScoreConfig | None = None
    seed: int = 0


class PseudoConfig(Config, frozen=True, kw_only=True):
    """Clips whose texts a recogniser wrote (`sonorant label`), beside transcribed ones."""

    manifest: str
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5  # of the batches


class JointConfig(Config, frozen=True, kw_only=True):
    """Kinds of data whose batches take turns (`sonorant cjt`): transcribed clips, those of `data.manifest`;
    speech with the labels of a recogniser; synthetic audio."""

    paired: bool = True  # whether `data.manifest` takes its turn; its texts give the vocabulary in any case
    speech: str | None = None  # a manifest
    text: str | None = None  # likewise
    mask: LabelMaskConfig = LabelMaskConfig()  # of the labels of `speech`

    def __post_init__(self) -> None:
        if self.speech is None and self.text is None:
            raise ValueError("speech and text: give one of them, or both")


class FinetuneConfig(Config, frozen=True, kw_only=True):
    """A recogniser's training: `pretrained` is a run's folder, for its best checkpoint, or a checkpoint.

    With `from_scratch` the encoder has the same shape and new weights. `encoder` holds settings that differ
    from the pretrained run's, such as dropout.
    """

    out: str
    pretrained: str
    data: DataConfig
    objective: dict[str, Any]  # the settings of `ctc`, or `name: seq2seq` and its settings; without `labels`
    train: TrainConfig
    encoder: dict[str, Any] = {}  # noqa: RUF012 (a Struct copies it)
    pseudo: PseudoConfig | None = None
    joint: JointConfig | None = None
    from_scratch: bool = False
    normalisation: str = "lower_alnum"  # of transcripts
    vocabulary: VocabularyConfig | None = None  # null: characters
    seed: int = 0


def best_checkpoint(path: Path) -> Path:
    """The checkpoint itself, or the best one of a run; its last one where none is known to be best."""
    folder = checkpoint.step_folder(path)
    if folder == path:
        return folder
    best = checkpoint.read_state(folder).best_step
    return folder if best is None else checkpoint.step_folder(path / f"step_{best:07d}")


def encoder_settings(path: Path) -> dict[str, Any]:
    """The encoder's settings in a run or checkpoint."""
    settings = checkpoint.read_config(checkpoint.step_folder(path))
    encoder = settings.get("encoder")
    if not isinstance(encoder, dict):
        raise ConfigError(f"{path}: its config.json tells of no encoder")
    return encoder


def load_encoder(path: Path, *, untrained: bool = False, changes: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of a run or checkpoint, with averaged weights where there are any.

    `untrained` leaves the weights as they were drawn; `changes` are laid over its settings.
    """
    encoder = build(convert(merged(encoder_settings(path), changes or {}), EncoderConfig, path="encoder"))
    if not untrained:
        averaged = (checkpoint.step_folder(path) / "average.safetensors").exists()
        checkpoint.load_encoder(path, encoder, averaged=averaged)
    return encoder


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others laid over them, group by group."""
    result = dict(settings)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = (
            merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, dict) else value
        )
    return result


def build_objective(method: ObjectiveConfig, encoder: Encoder, data: DataConfig) -> Objective:
    """The objective around an encoder, with its teacher if it has one.

    ConfigError: it does not fit the encoder, or the encoder the audio.
    """
    if encoder.frontend.rate != data.rate:
        raise ConfigError(
            f"data.rate: {data.rate}, but the front end expects {encoder.frontend.rate} (make both the same)"
        )
    try:
        if (run := method.taught_by()) is not None:
            return method.build_with(encoder, load_encoder(best_checkpoint(Path(run))))
        return method.build(encoder)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"objective: {error}") from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    """The key paths where two configurations differ, with both values."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} was {old!r}, now {new!r}")
    return found

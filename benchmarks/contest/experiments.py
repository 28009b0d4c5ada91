"""What papers promise of single settings: an experiment each, its variants alike in all but those settings.

Variants are settings as on the command line. Lengths that papers give in frames of 10 ms need such frames, so
where spans and shifts are compared the shared front end stacks none. All variants of an experiment are given
the updates that fit into the minutes of the first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from contest.figures import NATS, NOISY, PHONES, SPEAKERS
from contest.methods import Method, method

CODES = "code_perplexity"  # of the log: how many codes are in use, as an even share of them would be
WORKERS = ("wave", "lps", "mfcc", "prosody", "lim", "gim", "spc")
SHIFTS, FAR = (1, 2, 3, 5, 10), 3  # frames of 10 ms; from where on more is learned of phones
PAPER_FRAMES = "encoder.frontend.stack=1"
NO_MAGNITUDE = "objective.magnitude=0"


@dataclass(frozen=True)
class Claim:
    """That the best of some variants has more of a figure than the best of others."""

    metric: str
    more: tuple[str, ...]
    less: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """What is expected of a method's variants, and who says so."""

    name: str
    method: str
    expected: str
    paper: str
    variants: Mapping[str, tuple[str, ...]]  # settings of each
    claims: tuple[Claim, ...]
    watched: tuple[str, ...] = ()  # figures of the log
    stages: tuple[str, ...] = ("pretrain", "measure")

    def subject(self, variant: str) -> str:
        """What rows call a variant."""
        return f"{self.name}, {variant}"

    def contestants(self) -> list[Method]:
        """The variants. ConfigError: the method fits no encoder."""
        found, rest = method(self.method), {"stages": self.stages, "watched": self.watched, "pool": self.name}
        return [
            found.varied(words, name=self.subject(variant), **rest)
            for variant, words in self.variants.items()
        ]


EXPERIMENTS = (
    Experiment(
        name="hubert",
        method="hubert",
        expected="A loss on the hidden frames alone teaches more than one on the others alone, which can be "
        "named by what is heard there.",
        paper="HuBERT, table V, https://arxiv.org/abs/2106.07447",
        variants={"hidden frames": ("objective.alpha=1",), "other frames": ("objective.alpha=0",)},
        claims=tuple(Claim(metric, ("hidden frames",), ("other frames",)) for metric in (NATS, PHONES)),
    ),
    Experiment(
        name="mockingjay",
        method="mockingjay",
        expected="Hiding spans of frames teaches more of phones than hiding as many single ones, which their "
        "neighbours give away.",
        paper="Mockingjay, https://arxiv.org/abs/1910.12638",
        variants={
            "spans of 70 ms": (PAPER_FRAMES, "objective.mask_length=7"),
            "single frames": (PAPER_FRAMES, "objective.mask_length=1"),
        },
        claims=(Claim(PHONES, ("spans of 70 ms",), ("single frames",)),),
    ),
    Experiment(
        name="tera",
        method="tera",
        expected="Hiding bands of frequencies, beside spans of time, teaches more of who speaks.",
        paper="TERA, https://arxiv.org/abs/2007.06028",
        variants={
            "time and frequency": (PAPER_FRAMES, "objective.time_length=7", NO_MAGNITUDE),
            "time": (PAPER_FRAMES, "objective.time_length=7", NO_MAGNITUDE, "objective.frequency=0"),
        },
        claims=(Claim(SPEAKERS, ("time and frequency",), ("time",)),),
    ),
    Experiment(
        name="apc",
        method="apc",
        expected=f"Predicting {FAR} or more frames of 10 ms ahead teaches more of phones than predicting the "
        "next ones, for which it is enough that speech is smooth.",
        paper="APC, https://arxiv.org/abs/1904.03240",
        variants={f"n = {n}": (PAPER_FRAMES, f"objective.shift={n}") for n in SHIFTS},
        claims=(
            Claim(
                PHONES,
                tuple(f"n = {n}" for n in SHIFTS if n >= FAR),
                tuple(f"n = {n}" for n in SHIFTS if n < FAR),
            ),
        ),
    ),
    Experiment(
        name="wav2vec2",
        method="wav2vec2",
        expected="Without its diversity term the quantiser uses fewer of its codes.",
        paper="wav2vec 2.0, eq. 4, https://arxiv.org/abs/2006.11477",
        variants={"diversity 0.1": ("objective.diversity=0.1",), "no diversity": ("objective.diversity=0",)},
        claims=(Claim(CODES, ("diversity 0.1",), ("no diversity",)),),
        watched=(CODES, "same_negatives"),
    ),
    Experiment(
        name="best_rq",
        method="best_rq",
        expected="Without normalised input random projections fall to fewer codes.",
        paper="BEST-RQ, section 3.1, https://arxiv.org/abs/2202.01855",
        variants={
            "normalised": ("objective.projection=random",),
            "as it is": ("objective.projection=random", "encoder.frontend.normalize=none"),
        },
        claims=(Claim(CODES, ("normalised",), ("as it is",)),),
        watched=(CODES,),
    ),
    Experiment(
        name="pase",
        method="pase",
        expected="Each worker adds to what the others teach: without it phones or speakers are told less "
        "well.",
        paper="PASE, https://arxiv.org/abs/1904.03416",
        variants={
            "all workers": (),
            **{f"without {worker}": (f"objective.workers.{worker}=0",) for worker in WORKERS},
        },
        claims=tuple(
            Claim(metric, ("all workers",), (f"without {worker}",))
            for worker in WORKERS
            for metric in (PHONES, SPEAKERS)
        ),
    ),
    Experiment(
        name="pase_plus",
        method="pase_plus",
        expected="An encoder that was trained on distorted speech tells phones in noise better than the same "
        "one trained on clean speech, with a probe that was fitted to clean speech.",
        paper="PASE+, https://arxiv.org/abs/2001.09239",
        variants={"distorted": (), "clean": ("objective.distortion=null",)},
        claims=(Claim(NOISY, ("distorted",), ("clean",)),),
        stages=("pretrain", "measure", "noise"),
    ),
)

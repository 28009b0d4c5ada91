"""Who takes part in recognisers.py: what is made of an encoder and few transcripts, in several ways."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sonorant.config import ConfigError

KINDS = ("ctc", "seq2seq")
LABELS = ("10m", "1h")  # of the corpus's paired parts
SCRATCH = "from scratch"
FREE = (
    "train.schedule.peak=1e-3"  # the shipped configurations' rate, where nothing pretrained could be spoilt
)
FRESH = ("from_scratch=true", "objective.freeze_context=0", "objective.freeze_frontend=false", FREE)
FROZEN = ("objective.freeze_context=always", FREE)
WEIGHTED, LAST = "objective.layer=weighted", "objective.layer=null"
RECURRENT = {"ctc": ("objective.head=recurrent",), "seq2seq": ()}  # whose decoder puts frames together
ARMS: dict[str, tuple[str, ...]] = {
    SCRATCH: (*FRESH, WEIGHTED),
    "frozen": (*FROZEN, WEIGHTED),
    "fine-tuned": (WEIGHTED,),
    "fine-tuned, layer decay 0.8": (WEIGHTED, "train.optimizer.layer_decay=0.8"),
    f"{SCRATCH}, last layer": (*FRESH, LAST),
    "frozen, last layer": (*FROZEN, LAST),
    "fine-tuned, last layer": (LAST,),
}  # settings over those of the schedule for so many labels (recipes/label_budget.py)


@dataclass(frozen=True)
class Recogniser:
    """A way to make a recogniser of an encoder."""

    kind: str
    labels: str
    arm: str
    upstream: str  # a pretrained run; `{seed}` stands for the entry's seed
    stages: tuple[str, ...] = ("train", "decode")

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.labels}, {self.arm}"

    @property
    def pool(self) -> str:
        """Whose members are given the same number of updates."""
        return f"{self.kind}-{self.labels}"

    def words(self, arm: str) -> tuple[str, ...]:
        """The settings of one of the ways."""
        head = RECURRENT[self.kind] if arm.startswith("frozen") else ()
        return (f"objective.name={self.kind}", *ARMS[arm], *head)


def recognisers(
    kinds: Sequence[str], labels: Sequence[str], arms: Sequence[str], upstream: str
) -> Iterator[Recogniser]:
    """All of these. ConfigError: a name is not known."""
    _check("--kinds", kinds, KINDS)
    _check("--labels", labels, LABELS)
    _check("--arms", arms, ARMS)
    for kind in kinds:
        for amount in labels:
            yield from (Recogniser(kind, amount, arm, upstream) for arm in arms)


def _check(option: str, wanted: Sequence[str], known: Iterable[str]) -> None:
    for name in wanted:
        if name not in known:
            raise ConfigError(f"{option}: {name!r} is not one of {', '.join(known)}")

"""How a run collapses, and which figure shows it.

A collapse is a way to make the loss small, or to stop it from falling, without learning anything: the loss
alone does not tell. An objective names the signs that apply to it (`Objective.signs`), training watches them
(`train/watch.py`), and `docs/health.md` tells people what to do. Each limit has its reason here; they are set
where nothing is left, not where something might be better, so that a healthy start raises no alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SOON = 200  # updates, in which no sign is judged: less than a collapse takes to be worth telling
FIXED = 0.05  # least use of labels that are fixed: nothing will raise it later
LATE = 2000  # for what a healthy run does at first, too


@dataclass(frozen=True)
class Sign:
    """A figure that shows a collapse once it is below (or above) a limit.

    `seen` says what it shows, with the step's figures in braces; `advice` what to change.
    """

    mechanism: str  # what has happened; several signs may show the same
    metric: str  # of `Loss.metrics`
    limit: float
    seen: str
    advice: str
    above: bool = False  # whether values above the limit are the bad ones
    after: int = SOON  # updates before it is judged

    def shown_by(self, value: float) -> bool:
        """Whether a value is on the wrong side of the limit."""
        return value > self.limit if self.above else value < self.limit

    def told(self, figures: Mapping[str, float], since: int) -> str:
        """The line for people."""
        return f"{self.mechanism}: {self.seen.format_map(figures)} since step {since}; {self.advice}"


def few_codes(
    codes: int,
    advice: str,
    *,
    seen: str = "",
    perplexity: str = "code_perplexity",
    limit: float = 0.02,
) -> Sign:
    """`code_use` below 2 %: 0 is one code for all frames (of each group), 1 all codes equally often, or as
    many as there are frames (`nn/usage.py`). Learned codebooks lie above 10 % from the first steps on; for
    labels that never move, which lie above 20 %, take `FIXED`."""
    told = f"about {{{perplexity}:.3g}} of {codes} codes in use{seen}"
    return Sign("codebook collapse", "code_use", limit, told, advice)


def same_negatives(advice: str) -> Sign:
    """Nine negatives in ten are the very codeword of the target, so that nothing is left to tell apart. With
    codes drawn evenly it is one in as many as there are codewords."""
    seen = "{same_negatives:.0%} of the negatives equal the positive, so the loss means nothing"
    return Sign("codebook collapse", "same_negatives", 0.9, seen, advice, above=True)


def constant_prediction(advice: str) -> Sign:
    """`prediction_spread` below 0.1: predictions vary less than a tenth as much as what they predict, which
    is what the best constant does, too. It rises within some hundred updates."""
    seen = "predictions vary {prediction_spread:.2g} times as much as their targets (1: as much)"
    return Sign("constant prediction", "prediction_spread", 0.1, seen, advice, after=LATE)


def same_embeddings(advice: str) -> tuple[Sign, Sign]:
    """One embedding for all utterances, or all on one line. `embedding_std` is 1 for unit-length embeddings
    that point everywhere; below 0.1 their mean cosine is above 0.99. `effective_rank` is 1 on a line."""
    return (
        Sign(
            "collapsed embeddings",
            "embedding_std",
            0.1,
            "all utterances have nearly the same one (embedding_std {embedding_std:.2g}, healthy: near 1)",
            advice,
        ),
        Sign(
            "collapsed embeddings",
            "effective_rank",
            2.0,
            "those of all utterances lie on a line (effective_rank {effective_rank:.2g})",
            advice,
        ),
    )


def flat_teacher(advice: str) -> tuple[Sign, Sign]:
    """A teacher whose targets, or a student whose predictions, do not vary over frames: fairseq's limits for
    data2vec, where it stops. Standardised channels have 1, the mean of K layers about 1 / sqrt(K)."""
    flat = "targets vary by {target_deviation:.2g} only"
    same = "predictions vary by {prediction_deviation:.2g} only, their targets by {target_deviation:.2g}"
    return (
        Sign("flat teacher", "target_deviation", 0.1, flat, advice),
        Sign("constant prediction", "prediction_deviation", 0.01, same, advice),
    )


def one_answer(advice: str) -> Sign:
    """All frames get the same label: 1.5 is where seven in eight have it. Healthy runs do so at first."""
    seen = "about {prediction_perplexity:.2g} different labels are predicted"
    return Sign("constant prediction", "prediction_perplexity", 1.5, seen, advice, after=LATE)


def all_blank(frozen: int | str) -> Sign:
    """A recogniser that writes nothing. Every one begins like that, for some hundred updates, and longer
    while its encoder is `frozen` for so many updates, or always."""
    seen = "the likeliest label of {blank_share:.0%} of the frames is the blank"
    waited = frozen if isinstance(frozen, int) else 0
    advice = "train longer, raise schedule.peak, mask less, or look whether transcripts belong to their audio"
    return Sign("all blank", "blank_share", 0.99, seen, advice, above=True, after=waited + LATE)


def silent_teacher() -> Sign:
    """A teacher that writes nothing: its student learns from transcripts alone. A seed that has learned
    writes something for nearly every clip of speech."""
    seen = "the teacher writes nothing for {empty_labels:.0%} of the clips"
    advice = "train the seed longer or on more transcripts, or look whether the clips are speech"
    return Sign("silent teacher", "empty_labels", 0.95, seen, advice, above=True)


ENCODER = (
    Sign(
        "collapsed frames",
        "frame_std",
        0.1,  # as for embeddings; trained encoders have 0.5 to 0.9
        "the encoder gives nearly the same for all frames (frame_std {frame_std:.2g}, healthy: above 0.4)",
        "lower schedule.peak, lengthen schedule.warmup and begin again",
    ),
    Sign(
        "collapsed frames",
        "frame_rank",
        2.0,  # 1 is a line; trained encoders have 30 and more, untrained ones above 100
        "the encoder's frames lie on a line (frame_rank {frame_rank:.2g})",
        "lower schedule.peak, lengthen schedule.warmup and begin again",
    ),
)
"""Signs of the last layer, for every objective: training itself looks at the frames."""

"""Decides whether a tuned language model may be promoted."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a model may be promoted, and why."""

    promote: bool
    """The verdict."""

    reason: str
    """One line with the numbers it rests on."""


def decide(
    *, before: float, after: float, min_improvement: float, champion: float | None = None
) -> Decision:
    """Decides by the gate: the perplexity fell enough, and is not above the champion's.

    Args:
        before: Perplexity of the base model on the held-out text.
        after: That of the tuned model on the same text.
        min_improvement: The least factor between them.
        champion: That of the present champion on the same text, if there is one.

    Raises:
        ValueError: `min_improvement` is not positive.

    >>> decide(before=40.0, after=20.0, min_improvement=1.5).reason
    'perplexity fell from 40.00 to 20.00, by 2.00 times of the required 1.50; there is no champion'
    """
    check_min_improvement(min_improvement)
    ratio = before / after
    fell = (
        f"perplexity fell from {before:,.2f} to {after:,.2f}, "
        f"by {ratio:.2f} times of the required {min_improvement:.2f}"
    )
    if ratio < min_improvement:
        return Decision(promote=False, reason=f"not enough: {fell}")
    if champion is not None and after > champion:
        return Decision(promote=False, reason=f"{fell}, but the champion has {champion:,.2f}")
    rival = "there is no champion" if champion is None else f"the champion has {champion:,.2f}"
    return Decision(promote=True, reason=f"{fell}; {rival}")


def check_min_improvement(min_improvement: float) -> None:
    """Refuses a factor that makes no sense, for whoever wants to know before training.

    Raises:
        ValueError: It is not positive.
    """
    if not min_improvement > 0:
        raise ValueError(f"min_improvement is {min_improvement}; give a positive factor, as 1.2")

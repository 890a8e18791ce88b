"""What is tried: the choices of a candidate, the section `Slim` that they mean, and the next ones to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CRITERIA = ("fpgm", "l1_norm")
RATIOS = ("sensitivity", "uniform", "global")
QUANTIZERS = ("pact", "lsq", "ptq", "float")
PLACEMENTS = ("layers", "deploy")
FASTEST = "fastest"
"""As `layers`, but what is faster in float stays so; where latency counts, and layers of both kinds are the fastest."""
GRIDS = ("auto", "symmetric")
SPARED = (0, 1, 3)
RATES = (1.0, 0.2)
TEACHER = (True, False)
CHOICES = {
    "criterion": CRITERIA,
    "ratios": RATIOS,
    "quantizer": QUANTIZERS,
    "placement": (*PLACEMENTS, FASTEST),
    "grid": GRIDS,
    "spared": SPARED,
    "rate": RATES,
    "teacher": TEACHER,
}
"""What a candidate is made of, by the field's name; a search goes on only where it is what it began with."""
BY_HAND = ("pact", "ptq", "float")
"""Quantizers of the recipes that people write by hand, see `Candidate.by_hand`."""
_IN_VAIN = 20
"""Proposals in a row that were tried already, after which others are drawn at random, and after more of these none."""
_AT_RANDOM = 10
_STEP = 1e-4
"""A share is rounded to so much, and is never 0 or 1 by that."""
_SHARE = 0.5
"""What the first candidates leave where no target says it."""


@dataclass(frozen=True)
class Candidate:
    """One way to compress.

    Attributes:
        criterion: which channels go.
        ratios: `sensitivity` prunes layers until each loses as much, `uniform` all alike, `global` by one ranking.
        quantizer: `ptq` is calibrated after training in float; `float` leaves quantization out.
        placement: what is rounded, as `Slim.quant.placement`, or `fastest`.
        grid: `auto` lets zero points be anywhere where that is worth it, `symmetric` never.
        spared: so many layers stay float, those that quantization hurts most.
        rate: share of `Optimizer.lr.learning_rate` that it is trained with.
        teacher: whether the dense network teaches it; one that it could surpass holds it back.
        share: of the multiply-adds, or of the parameters where these count, that pruning leaves; 1 prunes nothing.
    """

    criterion: str = "fpgm"
    ratios: str = "sensitivity"
    quantizer: str = "pact"
    placement: str = "layers"
    grid: str = "auto"
    spared: int = 0
    rate: float = 0.2
    teacher: bool = True
    share: float = 1.0

    @property
    def by_hand(self) -> bool:
        """Whether it is a recipe that people write by hand: one ratio, the whole rate, no teacher, the defaults."""
        ratios = "uniform" if self.share < 1 else RATIOS[0]
        return self.quantizer in BY_HAND and self == Candidate(
            ratios=ratios, quantizer=self.quantizer, rate=1.0, teacher=False, share=self.share
        )

    @property
    def title(self) -> str:
        """For people."""
        cut = f"{self.criterion} {self.ratios} to {self.share:.0%}" if self.share < 1 else "unpruned"
        trained = f"rate x{self.rate:g}{'' if self.teacher else ', no teacher'}"
        if self.quantizer == "float":
            return f"{cut}, float, {trained}"
        spared = f", {self.spared} layers float" if self.spared else ""
        return f"{cut}, {self.quantizer} {self.placement} {self.grid}{spared}, {trained}"


def settled(choices: Mapping[str, Any], share: float) -> Candidate:
    """A candidate of some choices, those without effect beside the others at their defaults."""
    found = dict(choices)
    if share >= 1:
        found.update(criterion=CRITERIA[0], ratios=RATIOS[0])
    if found["quantizer"] == "float":
        found.update(placement=PLACEMENTS[0], grid=GRIDS[0], spared=0)
    return Candidate(**found, share=share)


def slim_section(
    candidate: Candidate,
    teacher: str,
    *,
    counts: str,
    ratios: Mapping[str, float] | None,
    noisy: Sequence[str],
    slow: Sequence[str] = (),
) -> dict[str, Any]:
    """The section `Slim` of a candidate, as a YAML has it.

    Args:
        teacher: the dense network's weights.
        counts: what `share` is of, `flops` or `params`.
        ratios: of each layer, for `sensitivity`.
        noisy: layers that quantization hurts, the worst first.
        slow: layers that are faster in float, for `fastest`.
    """
    section: dict[str, Any] = {"distill": {"teacher": teacher}} if candidate.teacher else {}
    if candidate.share < 1:
        prune: dict[str, Any] = {"name": candidate.criterion}
        if candidate.ratios == "sensitivity":
            prune |= {"scope": "layer", "pruned_ratio": dict(ratios)}
        else:
            prune[f"target_{counts}"] = min(max(round(candidate.share, 4), _STEP), 1 - _STEP)
            if candidate.ratios == "global":
                prune["global"] = True
        section["prune"] = prune
    if candidate.quantizer != "float":
        fastest = candidate.placement == FASTEST
        quant: dict[str, Any] = {"name": candidate.quantizer}
        quant["placement"] = PLACEMENTS[0] if fastest else candidate.placement
        quant["asymmetric"] = "auto" if candidate.grid == "auto" else False
        if skipped := [*noisy[: candidate.spared], *(slow if fastest else ())]:
            quant["skip"] = list(dict.fromkeys(skipped))
        section["quant"] = quant
    return section


def generations(trials: int) -> list[int]:
    """How many candidates are proposed at a time; each generation knows the results of those before it."""
    size = max(2, -(-trials // 3))
    return [min(size, trials - start) for start in range(0, trials, size)]


class Proposals:
    """Candidates by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    A generation depends on the seed and on the results of the generations before it, and on nothing else: not on how
    long anything took, nor on who computed it, nor on how often the search was stopped.

    Args:
        shares: the share of `Candidate.share` that a quantizer takes to meet the target; quantizers without one cannot.
            None lets the share be chosen, from `least` to 1.
        mixed: whether there is the placement `fastest`.
    """

    def __init__(
        self, seed: int, shares: Mapping[str, float] | None, *, least: float = 0.1, mixed: bool = False
    ) -> None:
        self._seed, self._shares, self._least = seed, shares, least
        self._placements = (*PLACEMENTS, FASTEST) if mixed else PLACEMENTS
        self._quantizers = QUANTIZERS if shares is None else tuple(name for name in QUANTIZERS if name in shares)

    def next(self, history: Sequence[tuple[Mapping[str, Any], float]], count: int) -> list[tuple[dict, Candidate]]:
        """`count` candidates that were not tried, or fewer where there are no more, with the choices to remember.

        Args:
            history: choices and losses so far, in the order in which they were proposed.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Each generation starts from a seed of its own, so that nothing has to be kept of the sampler.
        sampler = optuna.samplers.TPESampler(seed=(self._seed + 1009 * len(history)) % 2**32, n_startup_trials=4)
        study = optuna.create_study(sampler=sampler)
        for choices, loss in history:
            study.add_trial(
                optuna.trial.create_trial(params=dict(choices), distributions=self.distributions(), value=loss)
            )
        tried = {self._settled(choices) for choices, _ in history}
        found: list[tuple[dict, Candidate]] = []
        given, in_vain = self._first(), 0
        while len(found) < count and in_vain < _IN_VAIN * _AT_RANDOM:
            if in_vain == _IN_VAIN:
                study.sampler = optuna.samplers.RandomSampler(seed=self._seed)
            choices = given.pop(0) if given else study.ask(self.distributions()).params
            candidate = self._settled(choices)
            in_vain += 1
            if candidate not in tried:
                tried.add(candidate)
                found.append((dict(choices), candidate))
                in_vain = 0
        return found

    def distributions(self) -> dict[str, Any]:
        """What Optuna draws from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        lists = {**CHOICES, "quantizer": self._quantizers, "placement": self._placements}
        found: dict[str, Any] = {name: CategoricalDistribution(choices) for name, choices in lists.items()}
        return found if self._shares is not None else found | {"share": FloatDistribution(self._least, 1.0, step=0.05)}

    def _first(self) -> list[dict[str, Any]]:
        """What is always looked at: the recipes that people write by hand, the best taught, by sensitivities, mixed.

        The quantizer that has to prune least is the first; of equal ones float, which loses nothing.
        """
        plain = asdict(Candidate(rate=1.0))
        del plain["share"]
        names = [name for name in BY_HAND if name in self._quantizers]
        if self._shares is None:
            plain["share"] = _SHARE
        else:
            names.sort(key=lambda name: (-self._shares[name], name != "float"))
        by_hand = [{**plain, "ratios": "uniform", "quantizer": name, "teacher": False} for name in names]
        taught = [{**choices, "teacher": True} for choices in by_hand[:1]]
        sensitive = [{**plain, "quantizer": names[0], "rate": rate} for rate in RATES] if names else []
        mixed = [{**each, "placement": FASTEST} for each in by_hand if each["quantizer"] != "float"]
        mixed = mixed[:1] if FASTEST in self._placements else []
        return [*by_hand[:1], *taught, *by_hand[1:2], *sensitive[:1], *mixed, *by_hand[2:], *sensitive[1:]]

    def _settled(self, choices: Mapping[str, Any]) -> Candidate:
        found = dict(choices)
        share = found.pop("share") if self._shares is None else self._shares[found["quantizer"]]
        return settled(found, share)

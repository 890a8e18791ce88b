"""What a search knows before it trains anything: the dense network's file, what can be reached, and what hurts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from paddle import nn

from ppcls_compress import io
from ppcls_compress.config.schema import Config, SlimSection
from ppcls_compress.deploy import configured, formats, tuning
from ppcls_compress.deploy.measure.layers import RUNTIMES, Table, layers_of, measure
from ppcls_compress.deploy.network import fingerprint
from ppcls_compress.engine import analysis_run, assemble, sensitivity_run
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, NotKeptError, UserError
from ppcls_compress.passwords import without_secrets
from ppcls_compress.search import judge, shares, split, trial
from ppcls_compress.search.space import CHOICES, Candidate, slim_section
from ppcls_compress.search.workshop import Workshop
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions

_IMAGES = 512
"""Validation images, at most, that the sensitivities are measured on."""
DECIDING = "deciding.npz"
_LEAST = 1e-4
"""A share of multiply-adds or parameters that leaves the smallest network there is."""


@dataclass(frozen=True)
class Ready:
    """What the search starts from.

    Attributes:
        workshop: where it happens.
        seen: the configuration with the validation images that the search sees.
        kept: the same with those that decide.
        dense_costs: of the dense file.
        needed: see `shares.needed`; None where the cost is to be as small as possible.
        anchors: the measured or predicted files that `needed` comes from; none where the cost is counted.
        slow: layers that are in float in the fastest placement; none where that is integers or float throughout.
    """

    workshop: Workshop
    seen: Config
    kept: Config
    dense_costs: judge.Costs
    needed: Mapping[str, float] | None
    anchors: Sequence[shares.Anchor] = ()
    slow: Sequence[str] = ()
    _ratios: dict[float, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def dense(self) -> tuple[nn.Layer, Mapping[str, Any]]:
        """The dense network and its record, not to be changed."""
        return assemble.build_model(self.seen.model_copy(update={"Slim": None}))

    def slim_of(self, candidate: Candidate) -> dict[str, Any]:
        """The section `Slim` of a candidate.

        Raises:
            UserError: the layers' sensitivities allow no such ratios.
        """
        counts = shares.counts_of(self.seen.Slim.auto.cost)
        ratios = None
        if candidate.share < 1 and candidate.ratios == "sensitivity":
            ratios = self._ratios_for(counts, candidate.share)
        noisy = self._noisy if candidate.spared else ()
        teacher = str(assemble.weights_prefix(self.seen, download=True))
        return slim_section(candidate, teacher, counts=counts, ratios=ratios, noisy=noisy, slow=self.slow)

    def _ratios_for(self, counts: str, share: float) -> Mapping[str, float]:
        """Ratios at which each layer loses as much as the others."""
        if share not in self._ratios:
            file = self.workshop.folder / "suggested.yaml"
            found = sensitivity_run.suggest(
                self._pruned, f"target_{counts}", share, file, configured.latency_of(self.seen), reach=True
            )
            self._ratios[share] = {layer: ratio for layer, ratio in found.items() if ratio > 0}
        return self._ratios[share]

    @cached_property
    def _pruned(self) -> sensitivity_run.Study:
        plain = self.seen.model_copy(update={"Slim": None})
        logger.info("sensitivity of each layer to pruning")
        return sensitivity_run.study(plain, self.workshop.folder / "sensitivity.json", images=_IMAGES)

    @cached_property
    def _noisy(self) -> Sequence[str]:
        slim = SlimSection(quant=QuantOptions(name="ptq"))
        quantized = self.seen.model_copy(update={"Slim": slim})
        logger.info("sensitivity of each layer to quantization")
        file = self.workshop.folder / "analysis.json"
        found = analysis_run.study(quantized, file, images=_IMAGES // 2, identify=fingerprint)
        return [row.layer for row in sorted(found.rows, key=lambda row: row.output_db)]


def begin(workshop: Workshop) -> tuple[Config, Config]:
    """Make the folder one of this search, or find that it is; `split.halves` of the configuration.

    Raises:
        ConfigError: the folder holds another search.
        UserError: weights, images or profile cannot be used.
    """
    _check_profile(workshop)
    halves = split.halves(workshop.config)
    split.check_apart(*halves)
    identity = _identity(workshop, *halves)
    workshop.give_way(identity)
    workshop.identify(identity)
    workshop.write_contract()
    return halves


def prepare(workshop: Workshop, seen: Config, kept: Config) -> Ready:
    """Export and judge the dense network, and refuse what cannot be kept before anything is trained.

    Args:
        workshop: of a search that was begun.
        seen: with the validation images that the search sees.
        kept: with those that decide.

    Raises:
        NotKeptError: no network could be proven to lose as little, or to cost as little.
        UserError: weights or images cannot be used.
    """
    dense_costs = _dense(workshop, seen)
    _check_provable(workshop, kept)
    slow = _faster_in_float(workshop, seen)
    anchors = _anchors(workshop, seen, slow)
    return Ready(workshop, seen, kept, dense_costs, _needed(seen, anchors), anchors, slow)


def _check_profile(workshop: Workshop) -> None:
    """Refuse latencies that were measured in another runtime than the contract is about, or of other batches."""
    if workshop.profile is None:
        return
    name, runtime = workshop.config.Slim.auto.place
    wanted, about = formats.get(name).runtime(runtime).name, Table.load(workshop.profile).about
    if about.get("runtime") != wanted:
        found = about.get("runtime")
        raise ConfigError(f"--profile: {workshop.profile} is of {found}, and Slim.auto.runtime means {wanted}")
    if about.get("batch", 1) != 1:
        raise ConfigError(
            f"--profile: {workshop.profile} is of batches of {about['batch']}, and Slim.auto is about single images"
        )


def check_same(workshop: Workshop) -> None:
    """Refuse to help a search of another configuration, other weights or another machine's latencies.

    Raises:
        ConfigError: says what is different.
        UserError: weights or images cannot be used.
    """
    workshop.identify(_identity(workshop, *split.halves(workshop.config)))


def _identity(workshop: Workshop, seen: Config, kept: Config) -> dict[str, Any]:
    """What makes two searches the same."""
    config, base = workshop.config, workshop.base
    weights = io.sha256(io.weights_file(assemble.weights_prefix(config, download=True)))
    auto = config.Slim.auto.model_dump(mode="json")
    auto["storage"] = without_secrets(auto["storage"])
    if config.Slim.auto.share is not None:
        del auto["max_drop"]  # decides among what is trained, and about none of it
    rest = {key: value for key, value in base.items() if key != "Slim"}
    found = {"contract": auto, "weights": weights, "configuration": rest, **split.digests(seen, kept)}
    found["profile"] = io.sha256(workshop.profile) if workshop.profile else None
    found["kinds of candidates"], found["rule of shares"] = CHOICES, shares.RULE
    text = json.dumps(found, sort_keys=True, default=str)
    return json.loads(json.dumps({**found, "study": hashlib.sha256(text.encode()).hexdigest()[:16]}, default=str))


def _dense(workshop: Workshop, seen: Config) -> judge.Costs:
    """Export the dense network and keep its answers on the images of the search; what it costs."""
    name, runtime = seen.Slim.auto.place
    place = workshop.dense_artifact
    if not (workshop.dense / trial.ANSWERS).exists():
        logger.info("the dense network: exported and judged")
        plain = seen.model_copy(update={"Slim": None})
        model, record = assemble.build_model(plain)
        if record["steps"]:
            raise UserError("Global.pretrained_model: is compressed already; Slim.auto starts from dense weights")
        plan = configured.plan(plain, [formats.get(name)], record, speed_only=False)
        directory = workshop.dense / "artifact"
        names = assemble.class_names(plain)
        configured.export_all(plain, model, record, directory, plan, class_names=names)
        judge.save(judge.answers(seen, place, runtime), workshop.dense / trial.ANSWERS)
    return judge.costs(place, None, runtime, timed=False)


def deciding(workshop: Workshop, kept: Config) -> Path:
    """The file of the dense network's answers on the images that decide, which is made where it is missing."""
    file = workshop.dense / DECIDING
    if not file.exists():
        judge.save(judge.answers(kept, workshop.dense_artifact, kept.Slim.auto.place[1]), file)
    return file


def _check_provable(workshop: Workshop, kept: Config) -> None:
    """Refuse a drop that so few images could not prove of any network; warn of one that takes better answers."""
    most, answers = kept.Slim.auto.max_drop, judge.load(deciding(workshop, kept))
    count = len(next(iter(answers.values())))
    least = judge.least_bound(kept, answers)
    if least is None:
        return
    if least > most:
        raise NotKeptError(
            f"Slim.auto.max_drop: {most:g} points cannot be proven on the {count} images that decide: of a network "
            f"without any error they tell that it loses less than {least:.2f} points, and no more; nothing was "
            "trained. Loosen max_drop, or name more images with Slim.auto.decide"
        )
    if judge.unchanged_bound(count) > most:
        logger.warning(
            "Slim.auto.max_drop: %g points are less than the %.2f that %d deciding images leave open of a network with "
            "the same answers; only one that is better than the dense one can keep it",
            most,
            judge.unchanged_bound(count),
            count,
        )


def _anchors(workshop: Workshop, seen: Config, slow: Sequence[str]) -> list[shares.Anchor]:
    """What files of a few sizes cost; none where there is no target, or where the cost is counted."""
    auto = seen.Slim.auto
    if auto.share is None:
        return []
    if workshop.profile is not None:
        return shares.predicted(seen, Table.load(workshop.profile), slow)
    if auto.cost in ("bytes", "latency"):
        return shares.measured(seen, auto.cost, workshop.dense_artifact, workshop.folder / "anchors.json", slow)
    return []


def _faster_in_float(workshop: Workshop, seen: Config) -> Sequence[str]:
    """The layers that `tuning.cheapest` leaves in float, by times of the dense network's layers.

    They are measured here once, and kept; or come from the profile of another machine.
    """
    name, runtime = seen.Slim.auto.place
    title = formats.get(name).runtime(runtime).name
    if seen.Slim.auto.cost != "latency" or title not in RUNTIMES:
        return ()
    model = assemble.build_dense(seen)
    layers = layers_of(model, seen.Global.image_shape)
    file = workshop.profile or workshop.folder / "layers.json"
    if not file.exists():
        logger.info("times of each layer in float and in integers")
        measure(layers, title).save(file)
    integers = tuning.cheapest(layers, Table.load(file), {layer.name for layer in layers})
    there = {path for path, _ in model.named_sublayers()}  # what branches are merged to is not, before it is exported
    slow = [layer.name for layer in layers if layer.name not in integers and layer.name in there]
    return slow if integers else ()


def _needed(seen: Config, anchors: Sequence[shares.Anchor]) -> Mapping[str, float] | None:
    """What pruning has to leave.

    Raises:
        NotKeptError: the target is below what pruning and integers reach.
    """
    auto = seen.Slim.auto
    if auto.share is None:
        return None
    shares.check_reachable(auto.cost, auto.share, anchors)
    needed = shares.needed(auto.cost, auto.share, anchors)
    _check_prunable(seen, min(needed.values()) if auto.cost in ("flops", "params") else max(needed.values()))
    return needed


def _check_prunable(seen: Config, share: float) -> None:
    """Refuse a share that pruning does not reach."""
    if share >= 1:
        return
    cost, allowed = seen.Slim.auto.cost, share / shares.MARGIN
    try:
        left = _left(seen, share)
    except UserError as error:
        raise NotKeptError(f"Slim.auto.target.{cost}: {error}; nothing was trained") from error
    if left > allowed:  # counts of channels are whole numbers, and the next smaller network may still be small enough
        with suppress(UserError):
            left = min(left, _left(seen, _LEAST))
    if left > allowed:
        begins = f"; what could be kept begins at {cost}: {left + 5e-5:.4f}" if cost in ("flops", "params") else ""
        raise NotKeptError(
            f"Slim.auto.target.{cost}: {seen.Slim.auto.share:g} is out of reach: pruning leaves {left:.2%} of the "
            f"{shares.counts_of(cost)} at least, and {allowed:.2%} may be left; nothing was trained{begins}"
        )


def _left(seen: Config, share: float) -> float:
    """What pruning to a share of the multiply-adds or parameters does leave of them.

    Raises:
        UserError: it cannot be done.
    """
    counts, shape = shares.counts_of(seen.Slim.auto.cost), [[1, *seen.Global.image_shape]]
    model, record = assemble.build_model(seen.model_copy(update={"Slim": None}))
    before = assemble.cost_of(seen, record)
    options = SlimOptions(PruneOptions(**{f"target_{counts}": share}, verify=False))
    _, record = recipe.compress(model, options, shape)
    return getattr(assemble.cost_of(seen, record), counts) / getattr(before, counts)

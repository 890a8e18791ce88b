"""The networks that a configured one is trained with: how they are built, and where their weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.config.sections import Network, Together
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.losses.networks import NetworkLoss
from ppcls_compress.models import weights
from ppcls_compress.models.together import DistillationModel, giving

Companions = Mapping[str, paddle.nn.Layer]
"""The networks beside the one that is deployed, by name."""


def companions(config: Config, build: Callable[[Config, bool], paddle.nn.Layer], start: Path | None) -> Companions:
    """The networks that the configured one is trained with; none as a rule.

    Args:
        build: a network with its weights, of a configuration of it alone; and whether it learns, so that a classifier
            of another class count may start afresh.
        start: weights of all networks in one file, as checkpoints are, without `.pdparams`; they take precedence over
            each network's own.

    Raises:
        UserError: weights are missing or do not fit; names the network's key.
    """
    together = config.Arch.together
    if together is None:
        return {}
    state = io.read_state(io.weights_file(start)) if start else {}
    alone = config.Global.model_copy(update={"checkpoints": None, "pretrained_model": None})
    found = {}
    for network in together.networks:
        if network.name == together.student:
            continue
        own = state_of(network.name, state)
        arch = network.arch.model_copy(update={"pretrained": False}) if own else network.arch
        try:
            own_config = config.model_copy(update={"Arch": arch, "Global": alone, "Slim": None})
            layer = build(own_config, not network.frozen)
        except UserError as error:
            raise type(error)(_renamed(str(error), network)) from error
        if own:
            report = weights.load_into(layer, own, source=f"{network.name} in {start}", reinit_head=False)
            logger.info("weights of %s: %s", network.name, report)
        found[network.name] = layer
    return found


@contextmanager
def with_features(model: paddle.nn.Layer, config: Config) -> Iterator[None]:
    """Within the block, a network gives too what losses of several networks count on, so that its channels stay."""
    together = config.Arch.together
    if together is None or config.Loss is None:
        yield
        return
    student = next(network for network in together.networks if network.name == together.student)
    losses = [loss for loss in config.Loss.Train if isinstance(loss, NetworkLoss)]
    wanted = {key: None for loss in losses for key in loss.counts_on(student.name) if key in student.returns}
    with giving(model, wanted, student.name):
        yield


def _renamed(text: str, network: Network) -> str:
    return f"{network.where}{text.removeprefix('Arch')}" if text.startswith("Arch.") else f"{network.where}: {text}"


def around(model: paddle.nn.Layer, together: Together | None, others: Companions) -> paddle.nn.Layer:
    """What is trained: the network together with its companions, or itself where it has none."""
    if together is None:
        return model
    return DistillationModel(
        {network.name: others.get(network.name, model) for network in together.networks},
        student=together.student,
        frozen=[network.name for network in together.networks if network.frozen],
        returns={network.name: network.returns for network in together.networks},
    )


def state_of(name: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of one network in those of several, without its name before them; empty where it has none."""
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def own_state(together: Together | None, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of the network that is deployed, in a file of its own or of all networks."""
    return state if together is None else state_of(together.student, state) or state

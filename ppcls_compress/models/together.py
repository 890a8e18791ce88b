"""Several networks that are trained together, of which one is deployed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.utils import unique_name

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.models.labelled import TakesLabels
from ppcls_compress.outputs import LOGITS, Output


class DistillationModel(TakesLabels):
    """Networks that get the same images; parameters are called `<network>.<parameter>`, as PaddleClas calls them.

    A frozen network learns nothing and is always in evaluation mode, dropout off, batch norms by their running
    statistics.

    Attributes:
        student_name: what the network is called that is deployed.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Layer],
        *,
        student: str,
        frozen: Collection[str] = (),
        returns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Put networks together.

        Args:
            networks: by name, in the order in which they run.
            student: the name of the one that is deployed.
            frozen: names of those that learn nothing.
            returns: layers whose outputs a network gives too, by the network's name.

        Raises:
            ConfigError: there is no such layer.
        """
        super().__init__()
        self._frozen = frozenset(frozen)
        self._features = {}
        for name, network in networks.items():
            self.add_sublayer(name, network)
            if name in self._frozen:
                for parameter in network.parameters():
                    parameter.stop_gradient = True
            if returns and returns.get(name):
                self._features[name] = {pattern: layer_called(network, pattern, name) for pattern in returns[name]}
        self.student_name = student
        self._names = list(networks)
        self._tell_parameters_apart()

    @property
    def student(self) -> nn.Layer:
        """The network that is deployed."""
        return self._sub_layers[self.student_name]

    def train(self) -> None:
        """Training mode, but for frozen networks."""
        super().train()
        for name in self._frozen:
            self._sub_layers[name].eval()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Output]:
        """[N, C, H, W] images -> what each network gives, with layers that it returns too by name beside `logits`."""
        return {name: self._of(name, images, labels) for name in self._names}

    def _of(self, name: str, images: Tensor, labels: Tensor | None) -> Output:
        network = self._sub_layers[name]
        arguments = (images, labels) if isinstance(network, TakesLabels) else (images,)
        with paddle.set_grad_enabled(paddle.is_grad_enabled() and name not in self._frozen):
            if name not in self._features:
                return network(*arguments)
            return _with_features(network, arguments, self._features[name])

    def _tell_parameters_apart(self) -> None:
        """Optimizers keep their state by the names of parameters, which two networks of a kind may share."""
        taken = set()
        for parameter in self.parameters():
            if parameter.name in taken:
                parameter.name = unique_name.generate(parameter.name)
            taken.add(parameter.name)


def layer_called(network: nn.Layer, pattern: str, name: str) -> nn.Layer:
    """The layer of a network that a pattern such as `blocks[7]` or `blocks6` names.

    Raises:
        ConfigError: there is none; the message has the closest.
    """
    path = re.sub(r"\[(\d+)\]", r".\1", pattern)
    layers = dict(network.named_sublayers())
    if path not in layers:
        raise ConfigError(f"Arch.models: {name}: return_patterns: {unknown('layer', path, layers)}")
    return layers[path]


@contextmanager
def giving(network: nn.Layer, patterns: Collection[str], name: str) -> Iterator[None]:
    """Within the block, a network gives the outputs of some layers too, by their names beside `logits`.

    Raises:
        ConfigError: there is no such layer.
    """
    found: dict[str, Output] = {}
    layers = {pattern: layer_called(network, pattern, name) for pattern in patterns}
    hooks = _keep_outputs(layers, found)
    if layers:
        hooks.append(network.register_forward_post_hook(lambda layer, inputs, output: _joined(output, found)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _with_features(network: nn.Layer, arguments: tuple[Any, ...], layers: Mapping[str, nn.Layer]) -> dict[str, Output]:
    """What a network gives, and what some of its layers gave meanwhile."""
    found: dict[str, Output] = {}
    hooks = _keep_outputs(layers, found)
    try:
        output = network(*arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return _joined(output, found)


def _keep_outputs(layers: Mapping[str, nn.Layer], found: dict[str, Output]) -> list[Any]:
    """Hooks that put what each layer gives into `found`."""

    def keep(pattern: str) -> Callable[..., None]:
        def hook(layer: nn.Layer, inputs: tuple[Any, ...], output: Output) -> None:
            found[pattern] = output

        return hook

    return [layer.register_forward_post_hook(keep(pattern)) for pattern, layer in layers.items()]


def _joined(output: Output, found: Mapping[str, Output]) -> dict[str, Output]:
    return {**(output if isinstance(output, Mapping) else {LOGITS: output}), **found}


def deployed(model: nn.Layer) -> nn.Layer:
    """The network that is deployed, of those that are trained together; any other network itself."""
    return model.student if isinstance(model, DistillationModel) else model

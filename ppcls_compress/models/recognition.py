"""Recognition models: what is trained to tell identities apart gives features that are compared."""

from __future__ import annotations

import re

from paddle import Tensor, nn

from ppcls_compress import models
from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.models import catalog
from ppcls_compress.models.families.recognition import RecModelOptions
from ppcls_compress.models.labelled import TakesLabels
from ppcls_compress.models.named_outputs import NamedOutputs


class RecModel(TakesLabels, NamedOutputs):
    """Backbone, neck and head.

    Args:
        options: what the config's `Arch` section says.

    Attributes:
        exported: the name of the output that is deployed.
        dropped: the layers of the backbone after the one that it ends with, of which no weights are kept.
    """

    def __init__(self, *, options: RecModelOptions) -> None:
        super().__init__()
        self.backbone = models.build(options.Backbone.name, **options.Backbone.options)
        stop = options.BackboneStopLayer
        self.dropped = tuple(stop_after(self.backbone, stop.name)) if stop and not self._lacks(options) else ()
        self.neck = options.Neck.build() if options.Neck else None
        self.head = options.Head.build() if options.Head else None
        self.head_reads_backbone = options.head_feature_from == "backbone"
        self.exported = options.infer_output_key
        self.gives = {*options.gives, options.infer_output_key}

    def leave_rest_out(self) -> None:
        """Drop the head where features are deployed."""
        self.gives = {self.exported}
        if self.exported != "logits":
            self.head = None

    def _lacks(self, options: RecModelOptions) -> bool:
        """Whether the backbone is PaddleClas' own and has no such layer: it is used as a whole then, as upstream."""
        first = re.split(r"[.\[]", options.BackboneStopLayer.name)[0]
        return catalog.get(options.Backbone.name).module == "bridge" and first not in self.backbone._sub_layers

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """[N, C, H, W] images -> `backbone`, `neck`, `features` and `logits`, as far as there are and are asked for.

        `features` are the neck's output, or the backbone's if there is no neck. With labels (int64 [N] or [N, k], the
        identity first) a head puts its margin before the right class.
        """
        found = {"backbone": self.backbone(images)}
        if self.neck is not None:
            found["neck"] = self.neck(found["backbone"])
        found["features"] = found.get("neck", found["backbone"])
        if self.head is not None and "logits" in self.gives:
            found["logits"] = self.head(found["backbone" if self.head_reads_backbone else "features"], labels)
        return {name: tensor for name, tensor in found.items() if name in self.gives}


def stop_after(network: nn.Layer, name: str) -> list[str]:
    """Make identities of the layers after one; its own siblings, and those of the layers that it is in.

    Args:
        network: calls its layers in the order in which they were made.
        name: such as `flatten`, `blocks[3]` or `blocks[3].conv1`.

    Returns:
        The paths of the layers that are gone.

    Raises:
        ConfigError: there is no such layer.
    """
    parts = [part for part in re.split(r"[.\[\]]+", name) if part]
    parent, path, gone = network, "", []
    for part in parts:
        children = list(parent._sub_layers)
        if part not in children:
            where = f" of {path.rstrip('.')}" if path else ""
            raise ConfigError(f"Arch.BackboneStopLayer.name: {unknown(f'layer{where}', part, children)}")
        for later in children[children.index(part) + 1 :]:
            if parent._sub_layers[later] is not None:
                parent._sub_layers[later] = nn.Identity()
                gone.append(f"{path}{later}")
        parent, path = parent._sub_layers[part], f"{path}{part}."
    return gone

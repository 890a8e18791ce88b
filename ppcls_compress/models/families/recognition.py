"""Recognition models: a backbone, a neck that makes the feature, a head that tells identities apart in training."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, model_validator

from ppcls_compress.declare import Options, at_key, named
from ppcls_compress.models.families.base import Arch, ArchOptions
from ppcls_compress.models.gears import HEADS, NECKS


class BackboneOptions(Options):
    """`Arch.Backbone`: a network of the catalogue, and what it takes besides its name."""

    model_config = ConfigDict(frozen=True, extra="allow", validate_default=True, allow_inf_nan=False)
    example: ClassVar[str] = "{name: PPLCNet_x2_5, pretrained: True}"

    name: str
    pretrained: bool | str = False
    use_ssld: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What the network's builder takes."""
        found = {"num_classes": "class_num"}
        extra = {found.get(key, key): value for key, value in (self.model_extra or {}).items()}
        return {"pretrained": self.pretrained, "use_ssld": self.use_ssld, **extra}


class StopLayer(Options):
    """`Arch.BackboneStopLayer`: the last layer of the backbone that is used, such as `flatten` or `blocks[3]`."""

    name: str


class RecModelOptions(ArchOptions):
    """A recognition model.

    Attributes:
        Backbone: the network.
        BackboneStopLayer: its last layer; without, all of it.
        Neck: from its output to the feature; without, the output is the feature.
        Head: from the feature to logits, for training; without, there are none.
        head_feature_from: what the head takes.
        infer_output_key: what is deployed.
        is_rec: upstream's mark of such models; always so.
        gives: what the network gives in training and evaluation, of what it has.
    """

    Backbone: BackboneOptions
    BackboneStopLayer: StopLayer | None = None
    Neck: named(NECKS, example="{name: FC, embedding_size: 1280, class_num: 512}") | None = None
    Head: named(HEADS, example="{name: ArcMargin, embedding_size: 512, class_num: 1000}") | None = None
    head_feature_from: Literal["neck", "backbone"] = "neck"
    infer_output_key: Literal["features", "logits", "backbone", "neck"] = "features"
    is_rec: Literal[True] = True
    gives: tuple[Literal["features", "logits", "backbone", "neck"], ...] = ("backbone", "neck", "features", "logits")

    @model_validator(mode="after")
    def _output_is_there(self) -> RecModelOptions:
        lacking = {"logits": self.Head is None, "neck": self.Neck is None}
        if lacking.get(self.infer_output_key):
            part = {"logits": "Head", "neck": "Neck"}[self.infer_output_key]
            raise at_key("infer_output_key", f"{self.infer_output_key} is given by a {part}, and there is none")
        if self.head_feature_from == "neck" or self.Head is not None:
            return self
        raise at_key("head_feature_from", "is for a Head, and there is none")

    def networks(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The backbone."""
        return {"Backbone": (self.Backbone.name, self.Backbone.options)}


ARCHS = (Arch("RecModel", "recognition", "RecModel", RecModelOptions, backbone=False),)

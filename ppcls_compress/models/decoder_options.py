"""The options of an ML-Decoder head, without Paddle."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ppcls_compress.declare import Count, Fraction, Options


class DecoderOptions(Options):
    """The `MLDecoder` section: a head that asks the feature map one question for each group of labels.

    Attributes:
        class_num: how many labels; None for `Arch.class_num`.
        in_channels: of the feature map.
        query_num: questions; each answers for as many labels as it takes to have all of them.
        embed_dim: width of a question.
        depth: layers of the decoder.
        num_heads: of the attention.
        mlp_hidden_dim: width inside the feed-forward part.
        dropout: share of values that training drops.
        activation: of the feed-forward part.
        freeze_query_embed: leave the questions random, as they begin.
        remove_self_attn: leave the attention between questions out of the first layer.
        remove_layers: layers of the backbone that give way to nothing, so that it hands a feature map on.
        replace_layer: its classifier, which the head takes the place of.
    """

    example: ClassVar[str] = "{query_num: 80, in_channels: 2048}"

    class_num: Count | None = None
    in_channels: Count = 2048
    query_num: Count = 80
    embed_dim: Count = 768
    depth: Count = 1
    num_heads: Count = 8
    mlp_hidden_dim: Count = 2048
    dropout: Fraction = 0.1
    activation: Literal["relu", "gelu"] = "relu"
    freeze_query_embed: bool = True
    remove_self_attn: bool = True
    remove_layers: tuple[str, ...] = ("avg_pool", "flatten")
    replace_layer: str = "fc"

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        return self

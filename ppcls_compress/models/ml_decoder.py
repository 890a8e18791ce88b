"""ML-Decoder (Ridnik et al. 2021, arXiv:2111.12933): questions that look labels up in a feature map."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.models.decoder_options import DecoderOptions


class LookUp(nn.TransformerDecoderLayer):
    """A layer of a transformer's decoder whose questions attend to the features and not to each other."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        del self.self_attn

    def forward(self, questions: paddle.Tensor, features: paddle.Tensor) -> paddle.Tensor:
        """[N, Q, D] and [N, L, D] -> [N, Q, D]; questions stand for what they would learn of each other."""
        x = self.norm1(questions + self.dropout1(questions))
        x = self.norm2(x + self.dropout2(self.cross_attn(x, features, features)))
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.norm3(x + self.dropout3(self.linear2(hidden)))


class Decoder(nn.Layer):
    """Decoder layers in a row."""

    def __init__(self, options: DecoderOptions) -> None:
        super().__init__()
        kinds = [LookUp if options.remove_self_attn else nn.TransformerDecoderLayer]
        kinds += [nn.TransformerDecoderLayer] * (options.depth - 1)
        self.layers = nn.LayerList(
            [
                kind(
                    options.embed_dim,
                    options.num_heads,
                    options.mlp_hidden_dim,
                    options.dropout,
                    options.activation,
                    options.dropout,
                    options.dropout,
                )
                for kind in kinds
            ]
        )

    def forward(self, questions: paddle.Tensor, features: paddle.Tensor) -> paddle.Tensor:
        """[N, Q, D] and [N, L, D] -> [N, Q, D]."""
        for layer in self.layers:
            questions = layer(questions, features)
        return questions


class MLDecoder(nn.Layer):
    """Feature map [N, C, H, W], or [N, C * H * W], to logits [N, class_num]; layers have PaddleClas' names."""

    def __init__(self, options: DecoderOptions, class_num: int) -> None:
        super().__init__()
        self.class_num, self.in_channels = class_num, options.in_channels
        questions, width = min(options.query_num, class_num), options.embed_dim
        self.input_proj = nn.Conv2D(options.in_channels, width, 1)
        self.query_pos_embed = nn.Embedding(questions, width, weight_attr=nn.initializer.Normal())
        self.query_pos_embed.weight.stop_gradient = options.freeze_query_embed
        self.decoder = Decoder(options)
        self.group_conv = nn.Conv2D(
            questions * width,
            questions * math.ceil(class_num / questions),
            1,
            groups=questions,
            weight_attr=nn.initializer.XavierNormal(),
            bias_attr=nn.initializer.Constant(0.0),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The logits of all labels."""
        if x.ndim == 2:
            x = x.reshape([x.shape[0], self.in_channels, -1, 1])
        features = nn.functional.relu(self.input_proj(x)).flatten(2).transpose([0, 2, 1])
        questions = self.query_pos_embed.weight.unsqueeze(0).expand([x.shape[0], -1, -1])
        answers = self.decoder(questions, features)
        return self.group_conv(answers.flatten(1).unsqueeze([2, 3])).flatten(1)[:, : self.class_num]


def add_decoder(model: nn.Layer, options: DecoderOptions, class_num: int) -> nn.Layer:
    """The backbone with an ML-Decoder in place of its classifier; it is changed itself.

    Args:
        class_num: how many labels the network tells.

    Raises:
        ConfigError: the backbone has no such layers, or the section has another number of labels.
    """
    if options.class_num not in (None, class_num):
        raise ConfigError(f"MLDecoder.class_num: is {options.class_num}, but Arch.class_num is {class_num}")
    own = [name for name, _ in model.named_children()]
    for key, names in (("remove_layers", options.remove_layers), ("replace_layer", (options.replace_layer,))):
        for name in names:
            if name not in own:
                raise ConfigError(f"MLDecoder.{key}: {unknown(f'layer of {type(model).__name__}', name, own)}")
    for name in options.remove_layers:
        setattr(model, name, nn.Identity())
    setattr(model, options.replace_layer, MLDecoder(options, class_num))
    return model


def completed(
    model: nn.Layer, options: DecoderOptions, state: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
    """The weights of a backbone with its own classifier as those of one with an ML-Decoder, which starts afresh.

    Returns:
        The weights, and whether it was so; weights that have a decoder are given back as they are.
    """
    head = f"{options.replace_layer}."
    if any(name.startswith(f"{head}input_proj.") for name in state):
        return dict(state), False
    fresh = {name: value.numpy() for name, value in model.state_dict().items() if name.startswith(head)}
    return {**{name: value for name, value in state.items() if not name.startswith(head)}, **fresh}, True

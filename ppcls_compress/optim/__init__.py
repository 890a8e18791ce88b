"""Optimizers and learning-rate schedules built from the configuration."""

from __future__ import annotations

import paddle

from ppcls_compress.config import optim as options
from ppcls_compress.optim.schedule import Schedule, build_schedule

__all__ = ["Schedule", "build_optimizer", "build_schedule"]


def build_optimizer(
    config: options.OptimizerOptions, schedule: Schedule, model: paddle.nn.Layer
) -> paddle.optimizer.Optimizer:
    """The optimizer of the model's parameters, which must be final: pruned, and with all quantizers in place.

    A parameter's own `optimize_attr['learning_rate']` and `regularizer` (PACT's alpha has them) take precedence.
    """
    clip = paddle.nn.ClipGradByNorm(config.clip_norm) if config.clip_norm else None
    named = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    own = {parameter.name for _, parameter in named if getattr(parameter, "regularizer", None) is not None}
    bare = {parameter.name for name, parameter in named if _without_decay(config, name, parameter)} - own
    shared = {"learning_rate": schedule, "grad_clip": clip, "multi_precision": config.multi_precision}
    if config.name == "AdamW":
        return paddle.optimizer.AdamW(
            parameters=[parameter for _, parameter in named],
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
            apply_decay_param_fun=lambda name: name not in bare | own,
            **shared,
        )
    for _, parameter in named:
        if parameter.name in bare:
            parameter.regularizer = paddle.regularizer.L2Decay(0.0)
    return paddle.optimizer.Momentum(
        parameters=[parameter for _, parameter in named],
        momentum=config.momentum,
        use_nesterov=config.use_nesterov,
        weight_decay=paddle.regularizer.L2Decay(config.regularizer.coeff) if config.regularizer else None,
        **shared,
    )


def _without_decay(config: options.OptimizerOptions, name: str, parameter: paddle.Tensor) -> bool:
    if config.one_dim_param_no_weight_decay and parameter.ndim <= 1:
        return True
    return any(part in name for part in (config.no_weight_decay_name or "").split())

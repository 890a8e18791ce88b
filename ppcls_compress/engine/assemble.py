"""From a configuration to a model: backbone, weights in the structure their record tells, then the `Slim` section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress import data, io, models, stopping
from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.schema import Config
from ppcls_compress.config.sections import Distill
from ppcls_compress.declare.paths import check_path
from ppcls_compress.engine import checkpoint, distributed, forward, progress, recognition, sync_norm, together
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, UserError, closest
from ppcls_compress.models import weights
from ppcls_compress.models.ml_decoder import add_decoder, completed
from ppcls_compress.models.named_outputs import NamedOutputs
from ppcls_compress.outputs import logits_of, part
from ppcls_compress.postprocess import names
from ppcls_compress.postprocess.base import scores_of
from ppcls_compress.slim import branches, cost, quant, recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions
from ppcls_compress.slim.paddleslim import state_dict


def start(config: Config) -> None:
    """Make `Global.device` the device that everything runs on; warn of keys that have no effect here.

    SIGTERM does again what it did before Paddle was imported.

    Raises:
        ConfigError: this installation of Paddle has no such device.
    """
    stopping.after_paddle()
    device = config.Global.device
    has = {"cpu": True, "gpu": paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0}
    if not has.get(device, device in paddle.device.get_all_custom_device_type()):
        raise ConfigError(
            f"Global.device: {device} is not available to this installation of PaddlePaddle; use -o Global.device=cpu"
        )
    paddle.set_device(device)
    for line in inert_keys(config):
        logger.warning("%s", line)


def build_dense(config: Config) -> paddle.nn.Layer:
    """The backbone of the `Arch` section with fresh weights.

    Raises:
        ConfigError: it does not take images of `Global.image_shape`.
    """
    arch, model = config.Arch, _network(config)
    recognition.tell_stop(model, config)
    if not arch.use_sync_bn or distributed.world_size() == 1:  # the statistics of one process are all there are
        return model
    if config.Global.device == "cpu":  # where Paddle has no kernel for it
        return sync_norm.share_batch_norms(model)
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _network(config: Config) -> paddle.nn.Layer:
    """What `Arch` says, with the batch norms of one process."""
    arch = config.Arch
    model = models.build(arch.name, class_num=arch.class_num, **recognition.family_options(config))
    if arch.use_ml_decoder:
        model = add_decoder(model, config.MLDecoder, arch.class_num)
    _check_takes(config, model, arch.name, where="Arch.name")
    return model


def _check_takes(config: Config, model: paddle.nn.Layer, name: str, *, where: str) -> None:
    options = models.catalog.get(name).options.model_fields
    channels = config.Global.image_shape[0]
    advice = (
        f"Arch.input_image_channel: {channels} makes one that takes them" if "input_image_channel" in options else ""
    )
    forward.check_takes(
        model, config.Global.image_shape, class_num=config.Arch.class_num, who=f"{where} {name}", advice=advice
    )


def build_model(
    config: Config,
    *,
    dense: paddle.nn.Layer | None = None,
    context: recipe.Context | None = None,
    download: bool = True,
    reinit_head: bool = False,
) -> tuple[paddle.nn.Layer, recipe.Record]:
    """The configured model, with weights loaded and compressed, and its record.

    Weights come from `Global.checkpoints`, else `Global.pretrained_model`, else `Arch.pretrained`. A record beside
    them is applied first; of the `Slim` section only what it lacks is done. Weights that are quantized stay so, unless
    the configuration says `Slim: null` or `Slim.quant: null`.

    Args:
        dense: as `build_dense` gives it, and nothing else has it; None builds it here.
        context: what compressing needs; None where the weights must have all steps of the `Slim` section already.
        download: whether published weights may be fetched.
        reinit_head: let a classifier of another class count start afresh, as fine-tuning needs.

    Raises:
        UserError: the weights do not fit, or the `Slim` section cannot be carried out.
    """
    model = dense or build_dense(config)
    slim = config.Slim.options if config.Slim else SlimOptions()
    record = recipe.empty_record()
    prefix = weights_prefix(config, download=download)
    if prefix is not None:
        model, record = _with_weights(config, model, prefix, reinit_head=reinit_head)
    else:
        recognition.load_backbone(model, config, download=download)
    slim = _with_quantization(slim, config, record)
    if config.Global.checkpoints:
        _check_same_steps(slim, record)
    model, record, notes = recipe.keep_wanted(model, slim, record)
    for note in notes:
        logger.warning("%s", note)
    missing = recipe.pending(slim, record)
    if missing and context is None:
        raise ConfigError(
            f"Slim.{missing[0]}: the weights have no such step; run ppcls-compress train with this configuration, "
            "or leave the section out with -o Slim=null"
        )
    done = len(record["steps"])
    inputs = [[1, *config.Global.image_shape]]
    with progress.step(f"compressing: {', '.join(missing)}" if missing else "loading"):
        if "prune" in missing:
            context = recipe.foresee(model, slim, record, context)
            with together.with_features(model, config):
                model, record = recipe.compress(
                    model, replace(slim, quant=None), inputs, record=record, context=context
                )
            context = replace(context, settled=False)
        model, record = recipe.compress(model, slim, inputs, record=record, context=context)
    recognition.name_whole(model, record["steps"][done:])
    for step in record["steps"][done:]:
        for line in recipe.describe(step):
            logger.info("%s", line)
    distributed.check_same("the compressed structure", record)
    return model, record


def build_companions(config: Config, *, download: bool = True) -> together.Companions:
    """The networks that the configured one is trained with, each with its weights; see `together.companions`.

    Args:
        download: whether published weights may be fetched.
    """
    shared = config.Global.checkpoints or config.Global.pretrained_model
    return together.companions(
        config,
        lambda alone, learns: build_model(alone, download=download, reinit_head=learns)[0],
        weights_prefix(config, download=download) if shared else None,
    )


def _with_quantization(slim: SlimOptions, config: Config, record: recipe.Record) -> SlimOptions:
    """The options, with the quantization of the weights where the configuration says nothing of any."""
    step = recipe.step_of(record, "quant")
    if step is None or slim.quant is not None or config.drops_quantization:
        return slim
    options = QuantOptions.from_dict(step["options"])
    logger.info(
        "the weights are quantized (Slim.quant.name: %s, says their record) and stay so; -o Slim.quant=null takes them "
        "as float",
        options.name,
    )
    return replace(slim, quant=options)


def _check_same_steps(slim: SlimOptions, record: recipe.Record) -> None:
    """A run can only go on exactly with the network it was stopped with."""
    missing = recipe.pending(slim, record)
    for kind in (*missing, *recipe.dropped(slim, record)):
        what = "lacks" if kind in missing else "has"
        raise ConfigError(
            f"Global.checkpoints: the checkpoint {what} the step that Slim.{kind} "
            f"{'asks for' if kind in missing else 'does not ask for'}; start from its weights with "
            "Global.pretrained_model instead"
        )


def recorded(config: Config) -> recipe.Record:
    """What was done to the weights `Global.checkpoints` or `Global.pretrained_model`; they are not loaded.

    Raises:
        UserError: the record cannot be read.
    """
    named = config.Global.checkpoints or config.Global.pretrained_model
    if not named:
        return recipe.empty_record()
    prefix = weights_prefix(config, download=True)
    return checkpoint.read_weights(prefix)[1]


def cost_of(config: Config, record: recipe.Record, model: paddle.nn.Layer | None = None) -> cost.Cost:
    """Parameters and multiply-adds of the configured backbone in the structure of a record, as it is deployed.

    Branches are merged; quantizers cost nothing.

    Args:
        model: the backbone with what the record tells, which is counted itself where it is as it is deployed.
    """
    resized = recipe.resized(record)
    if model is None or resized != record or branches.apart(model) or isinstance(model, NamedOutputs):
        model = recipe.rebuild(build_dense(config), resized)
        branches.merge(model)
        if isinstance(model, NamedOutputs):
            model.leave_rest_out()
    return cost.count(model, [[1, *config.Global.image_shape]])


def build_teacher(config: Config, options: Distill) -> paddle.nn.Layer:
    """The network that `Slim.distill` names, with its weights, in evaluation mode and without gradients.

    Raises:
        UserError: its weights do not fit.
    """
    prefix = checkpoint.plain_prefix(options.teacher)
    if options.arch:
        teacher = models.build(options.arch, class_num=config.Arch.class_num)
        _check_takes(config, teacher, options.arch, where="Slim.distill.arch")
    else:
        teacher = _network(config)
    teacher = _with_weights(config, teacher, prefix, reinit_head=False)[0]
    teacher.eval()
    for parameter in teacher.parameters():
        parameter.stop_gradient = True
    return teacher


def scores(config: Config, model: paddle.nn.Layer) -> Callable[[np.ndarray], np.ndarray]:
    """The model in evaluation mode as a function: images [N, C, H, W] to what `config.post_process` reads."""
    model.eval()
    reads = config.post_process.reads(multilabel=config.Global.use_multilabel)

    def predict(images: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            output = model(paddle.to_tensor(images))
        found = part(output, model.exported) if isinstance(model, NamedOutputs) else logits_of(output)
        return scores_of(found.numpy(), reads)

    return predict


def class_names(config: Config) -> list[str] | None:
    """The names in `Infer.PostProcess.class_id_map_file`, by class index; None where there is no such file.

    Raises:
        UserError: a line is malformed, or the file has another number of classes than `Arch.class_num`.
    """
    post = config.Infer and config.Infer.PostProcess
    if not post or not post.names_file or config.Arch.gives_features:
        return None
    key, path = "Infer.PostProcess.class_id_map_file", names.find(post.names_file)
    if not path.exists() and (match := closest(post.names_file, names.shipped())):
        raise ConfigError(f"{key}: {path} does not exist; did you mean {match}, which comes with this package?")
    check_path(key, str(path), "file")
    return data.read_class_names(path, config.Arch.class_num, delimiter=post.names_delimiter)


def _with_weights(
    config: Config, model: paddle.nn.Layer, prefix: Path, *, reinit_head: bool
) -> tuple[paddle.nn.Layer, recipe.Record]:
    """A fresh dense model in the structure of the record beside the weights, with these weights."""
    slim = config.Slim.options if config.Slim else SlimOptions()
    state, record = checkpoint.read_weights(prefix)
    record = recipe.with_training_options(record, slim)
    model = recipe.rebuild(model, record, custom=recipe.named_classes(slim, record))
    path = io.weights_file(prefix)
    state = together.own_state(config.Arch.together, state)
    _check_finite(state, path)
    if not record["steps"] and state_dict.is_paddleslim(state):
        if not (config.Slim and config.Slim.quant):
            raise UserError(
                f"{path}: was trained by PaddleSlim's QAT; say how with a Slim.quant section, such as "
                "{name: pact, compat: paddleslim}"
            )
        model, step, state = _from_paddleslim(config, model, state, path)
        record = {**record, "steps": [step]}
    if config.Arch.use_ml_decoder:
        state, fresh = completed(model, config.MLDecoder, state)
        if fresh:
            logger.info("weights: %s has no ML-Decoder, which starts from fresh ones", path)
    report = weights.load_into(model, state, source=str(path), reinit_head=reinit_head)
    logger.info("weights: %s", report)
    return model, record


def _check_finite(state: dict[str, np.ndarray], path: Path) -> None:
    """Refuse weights that are no numbers: a ReLU turns NaN into 0 on a CPU, so the network's answers need not tell."""
    broken = [
        name
        for name, value in state.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc" and not np.isfinite(value).all()
    ]
    if broken:
        rest = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise UserError(f"{path}: not all of these weights are finite numbers: {', '.join(broken[:3])}{rest}")


def _from_paddleslim(
    config: Config, model: paddle.nn.Layer, state: dict[str, np.ndarray], path: Path
) -> tuple[paddle.nn.Layer, recipe.Record, dict[str, np.ndarray]]:
    """The model quantized as `Slim.quant` says, that step, and the state that PaddleSlim's QAT wrote, for it."""
    options = config.Slim.quant.as_paddleslim()
    try:
        state_dict.check_fits(options)
        custom = quant.named_classes(options)
        model, step = quant.prepare(model, options, inputs=[[1, *config.Global.image_shape]], custom=custom)
        return model, step, state_dict.from_paddleslim(model, state)
    except UserError as error:
        raise UserError(f"Slim.quant does not fit {path}: {error}") from None


def starts_fresh(config: Config) -> bool:
    """Whether a model starts from random weights, unless some are downloaded."""
    if config.Global.checkpoints:
        return False
    key, wanted = _pretrained(config)
    return not wanted or bool(weights.needs_download(wanted, config.Arch.name, use_ssld=_ssld(config), where=key))


def weights_prefix(config: Config, *, download: bool) -> Path | None:
    """The weights that a model starts from, without `.pdparams`; None where there are none, or not without download."""
    if config.Global.checkpoints:
        return checkpoint.plain_prefix(config.Global.checkpoints)
    key, wanted = _pretrained(config)
    if not wanted:
        return None
    source = {"pretrained": wanted, "arch": config.Arch.name, "use_ssld": _ssld(config), "where": key}
    if not download and (url := weights.needs_download(**source)):
        logger.warning("%s: %s is not downloaded now; going on with fresh weights", key, url)
        return None
    return checkpoint.plain_prefix(weights.resolve(**source))


def _pretrained(config: Config) -> tuple[str, str | bool]:
    """The key that names the weights to start from, and what it says."""
    if config.Global.pretrained_model:
        return "Global.pretrained_model", config.Global.pretrained_model
    return "Arch.pretrained", config.Arch.pretrained


def _ssld(config: Config) -> bool:
    return config.Arch.use_ssld and not config.Global.pretrained_model

"""`quantize`: quantization of trained weights by calibration alone; what it writes is a checkpoint like any other."""

from __future__ import annotations

import argparse

from ppcls_compress.commands import source_free
from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config, require_weights
from ppcls_compress.config.paths import check_loader
from ppcls_compress.config.runs import QUANTIZED, run_folder
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `quantize`."""
    add_config_arguments(parser, required=False)
    parser.add_argument("--batches", type=int, help="batches of DataLoader.Train to calibrate on (default: 8)")
    source_free.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Calibrate `Global.pretrained_model` as `Slim.quant` says, and write `<output_dir>/<Arch.name>/quantized.*`.

    With `--model` it is an exported model instead; see `source_free`.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    if source_free.is_asked(args):
        source_free.run(args)
        return
    config = read_config(args)
    if not (config.Slim and config.Slim.quant):
        raise ConfigError("Slim.quant: this section is needed for quantization, such as -o 'Slim.quant={name: ptq}'")
    if args.batches is not None and args.batches < 1:
        raise ConfigError(f"--batches: expected 1 or more, found {args.batches}")
    check_loader(config, "Train")
    require_weights(config)
    load_paddle()
    from ppcls_compress.engine import assemble, calibration_run, checkpoint
    from ppcls_compress.engine.hooks import distributions
    from ppcls_compress.engine.hooks.evaluation import describe
    from ppcls_compress.engine.hooks.history import keep_command
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.engine.measured import evaluator
    from ppcls_compress.engine.samples import still_batches
    from ppcls_compress.slim import recipe

    prefix = run_folder(config) / QUANTIZED
    with logging_to():
        assemble.start(config)
        weights = assemble.weights_prefix(config, download=True)
        for kind in recipe.pending(config.Slim.options, checkpoint.read_weights(weights)[1]):
            if kind != "quant":
                raise ConfigError(
                    f"Slim.{kind}: the weights lack this step, after which a network must be fine-tuned; train it "
                    f"first with ppcls-compress train, or leave the section out with -o Slim.{kind}=null"
                )
        model, record = calibration_run.calibrated(config, args.batches or calibration_run.BATCHES)
        checkpoint.save_model(prefix, model, record, safetensors=config.Global.save_format == "safetensors")
        logger.info("written: %s.pdparams", prefix)
        keep_command(prefix.parent, args.typed)
        distributions.keep(prefix.parent, model, next(iter(still_batches(config, 1))))
        if config.DataLoader.Eval is not None:
            logger.info("evaluation: %s", describe(evaluator(config, model)()))

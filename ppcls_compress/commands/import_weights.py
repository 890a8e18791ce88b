"""`import_weights`: the weights of an exported model as a checkpoint, to be fine-tuned, pruned and quantized."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config
from ppcls_compress.config.runs import run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import_weights`."""
    parser.add_argument("model", metavar="MODEL", help="ONNX, inference.json or inference.pdmodel, or its folder")
    add_config_arguments(parser)
    parser.add_argument("--output-name", metavar="NAME", help="which of the model's outputs, where it has several")
    parser.add_argument("--output", metavar="PREFIX", help="default: <output_dir>/<Arch.name>/imported")


def run(args: argparse.Namespace) -> None:
    """Write `<PREFIX>.pdparams`, whose network answers as the model does.

    Raises:
        UserError: the configuration or the model cannot be used, or they are not the same network.
    """
    config = read_config(args)
    from ppcls_compress.deploy.extras import require
    from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS

    require(LAYOUTS["ort"], EXTRAS["ort"])
    load_paddle()
    import numpy as np
    from paddle.utils import unique_name

    from ppcls_compress import io
    from ppcls_compress.deploy.imported import network, source, weights
    from ppcls_compress.engine import assemble, checkpoint, samples
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.slim.record import empty_record

    prefix = io.plain_prefix(args.output) if args.output else run_folder(config) / "imported"
    with logging_to():
        assemble.start(config)
        found = source.find(args.model)
        images = np.random.default_rng(0).standard_normal((_COMPARED, *config.Global.image_shape), np.float32)
        exported = network.open_network(found, images, output_name=args.output_name)
        with unique_name.guard():  # so that parameters have the names that an exporting process gave them
            model = assemble.build_dense(config)
        real = samples.from_split(config, ("Train", "Eval"), _FOR_STATISTICS)
        done = weights.import_weights(model, exported, images, None if real is None else real.batches)
        checkpoint.save_model(prefix, model, empty_record(), safetensors=config.Global.save_format == "safetensors")
        logger.info("parameters found by %s; logits differ by %.1e of the largest", done.how, done.difference)
        if done.folded:
            what = "take mean 0 and variance 1" if real is None else f"have the statistics of {real}"
            logger.info("%d batch norms were folded into the convolutions before them; they %s", len(done.folded), what)
        logger.info("written: %s.pdparams", prefix)


_COMPARED, _FOR_STATISTICS = 4, 256

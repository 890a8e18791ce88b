"""`quantize --model`: an exported model of any origin, quantized by calibration without the code it was made of."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import load_paddle
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.postprocess.base import OUTPUTS

if TYPE_CHECKING:
    from ppcls_compress.commands.source_free_request import Request
    from ppcls_compress.deploy.compare import Tolerance
    from ppcls_compress.deploy.imported.network import FloatNetwork
    from ppcls_compress.deploy.imported.quantize import Quantized

_FORMATS = ("onnx-ort", "onnx-openvino", "onnx-qdq", "onnx-rknn")
_USUAL = _FORMATS[:2]
_CALIBRATION, _CHECK, _ROUNDS = 512, 256, 51
_ONLY_HERE = (
    "reader",
    "images",
    "preprocess",
    "list",
    "gives",
    "output_name",
    "format",
    "output",
    "agreement",
    "calibration_images",
    "check_images",
    "benchmark",
    "overwrite",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `quantize` that go with `--model`."""
    group = parser.add_argument_group("an exported model, without its source")
    group.add_argument("--model", metavar="PATH", help="ONNX, inference.json or inference.pdmodel, or its folder")
    group.add_argument("--images", metavar="PATH", help="a folder of images, or a list of them, to calibrate on")
    group.add_argument(
        "--preprocess",
        metavar="FILE",
        help="an inference.yml that tells how an image is prepared (default: its own)",
    )
    group.add_argument("--list", metavar="FILE", help="evaluate on these images: lines `path label`, below --images")
    group.add_argument("--gives", metavar="WHAT", help=f"what it gives: {', '.join(OUTPUTS)} (default: it tells)")
    group.add_argument("--output-name", metavar="NAME", help="which of the model's outputs, where it has several")
    group.add_argument(
        "--format", nargs="+", metavar="FORMAT", help=f"of {', '.join(_FORMATS)} (default: the first two)"
    )
    act = ("--act", "--compression_config_path", "--config_path")
    group.add_argument(
        *act, dest="act", metavar="FILE", help="a YAML of PaddleSlim's auto compression, for all of these"
    )
    group.add_argument("--reader", "--reader_config_path", metavar="FILE", help="a YAML with DataLoader beside --act")
    group.add_argument("--output", "--save_dir", metavar="DIR", help="default: output/quantized/<name of the model>")
    group.add_argument("--calibration-images", type=int, metavar="N", help="how many images (default: 512)")
    group.add_argument("--check-images", type=int, metavar="N", help="how many are compared on (default: 256)")
    group.add_argument(
        "--agreement", type=float, metavar="SHARE", help="of answers that must be those in float (default: 0.9)"
    )
    group.add_argument("--benchmark", action="store_true", default=None, help="time the files beside the float model")
    group.add_argument(
        "--overwrite",
        action="store_true",
        default=None,
        help="replace what another model was made, or files of another program",
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Whether an exported model is to be quantized.

    Raises:
        ConfigError: it is not, and an option says otherwise.
    """
    return args.act is not None or is_meant(args, _ONLY_HERE)


def is_meant(args: argparse.Namespace, only_here: Sequence[str]) -> bool:
    """Whether a command is to work on an exported model.

    Args:
        only_here: options that go with such a model alone.

    Raises:
        ConfigError: it is not, and one of these says otherwise, or there is no configuration either.
    """
    if args.model is not None:
        return True
    given = [name for name in only_here if getattr(args, name) is not None]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')}: goes with --model, an exported model")
    if args.config is None:
        raise ConfigError("-c: the YAML file of the experiment is needed, or an exported model by --model and --images")
    return False


def run(args: argparse.Namespace) -> None:
    """Quantize `--model`, write it in each format, and evaluate and time it where that is asked for.

    Raises:
        UserError: an option, the model or an image cannot be used, or a file is too far from the float model.
    """
    _check(args)
    from ppcls_compress.deploy import formats
    from ppcls_compress.deploy.extras import require
    from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS

    require(LAYOUTS["ort"], EXTRAS["ort"])
    load_paddle()
    from ppcls_compress.commands import source_free_request
    from ppcls_compress.deploy.artifact import check_writable
    from ppcls_compress.deploy.imported import judge, quantize
    from ppcls_compress.deploy.replacing import check_all_replaceable
    from ppcls_compress.engine.logs import logger, logging_to

    with logging_to():
        asked = source_free_request.read(args)
        path = asked.source.path
        directory = Path(args.output or Path("output", "quantized", path.stem))
        kinds = [formats.get(name) for name in args.format or _USUAL]
        if args.format is None:
            kinds = quantize.formats_here(kinds)
        for kind in kinds:
            kind.require()
        if not args.overwrite:
            ways_out = "name another folder with --output FOLDER, or add --overwrite"
            check_all_replaceable(directory, kinds, str(path), ways_out)
        for kind in kinds:
            check_writable(directory / kind.folder)
        network = opened(args, asked)
        judged = None if asked.judged is None else judge.listed(network, asked.judged.root, asked.judged.file)
        model = _calibrated(args, asked, network)
        results = quantize.export_all(model, kinds, directory, _tolerance(args))
        if judged is not None:
            shares = judge.evaluate(model, results, asked.preparation, judged)
            judge.tell(shares, str(asked.judged.file))
        if args.benchmark:
            _time(model, directory)
        logger.info("written: %s", directory)


def _check(args: argparse.Namespace) -> None:
    if args.act is not None and (args.model is not None or args.config is not None):
        raise ConfigError("--act: names the model and how it is quantized; leave --model and -c out")
    if args.reader is not None and args.act is None:
        raise ConfigError("--reader: goes with --act")
    for name in ("act", "reader"):
        if getattr(args, name) is not None:
            check_path(f"--{name}", getattr(args, name), "file")
    check_common(args, images=args.act is None)
    for name in args.format or ():
        if name not in _FORMATS:
            raise ConfigError(f"--format: {unknown('format of exported models', name, _FORMATS)}")
    if args.agreement is not None and not 0 <= args.agreement <= 1:
        raise ConfigError(f"--agreement: expected a share from 0 to 1, found {args.agreement}")
    if args.batches is not None:
        raise ConfigError("--batches: is for a configuration's weights; with --model it is --calibration-images")


def check_common(args: argparse.Namespace, *, images: bool) -> None:
    """Check what every command with `--model` takes; `images` says whether only `-c` or `--images` can name some.

    Raises:
        ConfigError: says which argument is wrong.
    """
    if args.override and args.config is None:
        raise ConfigError(f"-o: {args.override[0]}: replaces a value of the file that -c names, and there is none")
    if args.images is not None:
        check_path("--images", args.images, "any")
    elif images and args.config is None:
        raise ConfigError("--images: needed, a folder of images to calibrate on")
    for name in ("preprocess", "list"):
        if getattr(args, name) is not None:
            check_path(f"--{name}", getattr(args, name), "file")
    if args.gives is not None and args.gives not in OUTPUTS:
        raise ConfigError(f"--gives: {unknown('output', args.gives, OUTPUTS)}")
    for name in ("calibration_images", "check_images"):
        if getattr(args, name) is not None and getattr(args, name) < 2:
            raise ConfigError(f"--{name.replace('_', '-')}: expected 2 or more, found {getattr(args, name)}")


def opened(args: argparse.Namespace, asked: Request) -> FloatNetwork:
    """The model that is asked for, which answers to the first images as its file does.

    Args:
        args: with `gives` and `output_name`.
        asked: what `source_free_request.read` made of them.

    Raises:
        UserError: the model or an image cannot be used.
    """
    import numpy as np

    from ppcls_compress.deploy.imported import network, prepare

    chosen = prepare.drawn(asked.paths, 2)
    few = chosen if len(chosen) > 1 else chosen * 2
    sample = np.concatenate(list(prepare.batches_of(few, asked.preparation, "looking")))
    return network.open_network(asked.source, sample, gives=args.gives, output_name=args.output_name)


def _calibrated(args: argparse.Namespace, asked: Request, network: FloatNetwork) -> Quantized:
    """The model, calibrated on some of the images, to be compared on others, or on the same where there are few."""
    import numpy as np

    from ppcls_compress.deploy.imported import prepare, quantize
    from ppcls_compress.engine.logs import logger

    wanted = args.calibration_images or _CALIBRATION
    chosen = prepare.drawn(asked.paths, wanted + (args.check_images or _CHECK))
    shape, what = network.image_shape, "reading images"
    calibrating, checking = chosen[:wanted], chosen[wanted:] or chosen[: args.check_images or _CHECK]
    images = list(prepare.batches_of(calibrating, asked.preparation, what, shape=shape))
    check = np.concatenate(list(prepare.batches_of(checking, asked.preparation, what, shape=shape)))
    logger.info("calibrating on %d images of %s", len(calibrating), asked.where)
    return quantize.quantize(network, asked.preparation, asked.options, images, check, asked.where)


def _tolerance(args: argparse.Namespace) -> Tolerance:
    from ppcls_compress.deploy.compare import Tolerance
    from ppcls_compress.deploy.imported.quantize import FROM_FLOAT

    if args.agreement is None:
        return FROM_FLOAT
    return Tolerance(args.agreement, max(FROM_FLOAT.mean, 1 - args.agreement))


def _time(model: Quantized, directory: Path) -> None:
    """Print how long the float model and the files take for an image, and write DIR/benchmark.csv."""
    from ppcls_compress.deploy.imported.quantize import export_float
    from ppcls_compress.engine.logs import logger
    from ppcls_compress.report import benchmark

    with tempfile.TemporaryDirectory(prefix="ppcls_compress_") as folder:
        export_float(model, Path(folder, "onnx-ort"))
        entries = benchmark.entries({"float": folder, "int8": directory})
        rows = benchmark.measure(entries, threads=1, batch=1, rounds=_ROUNDS)
    benchmark.show(rows)
    benchmark.write_csv(rows, directory / "benchmark.csv")
    for line in benchmark.slower_than_float(entries, rows):
        logger.warning("%s", line)

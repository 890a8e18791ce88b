"""Runs the commands of a package that docs/extending.md was added to, and writes down what came of it.

`python extended.py FOLDER`: the package is the first on the path; FOLDER has `configs.json`, what the document gives as
configuration by section, and gets `found.json`.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import paddle
import yaml
from support.extending import merged
from support.project import make_project

from ppcls_compress import cli
from ppcls_compress.commands.common import read_config
from ppcls_compress.config.load import load_config
from ppcls_compress.engine import assemble, checkpoint
from ppcls_compress.errors import UserError
from ppcls_compress.slim.recipe import Context

MISSPELT = {
    "a pruning criterion": ("Slim.prune.name", "largest_weigth"),
    "a way to choose what is pruned": ("Slim.prune.backend", "fist"),
    "a quantizer": ("Slim.quant", {"name": "ptq", "activation_quantizer": "MeanQuantiser"}),
    "a step of the Slim section": ("Slim.sparce", {"share": 0.5}),
    "a backbone": ("Arch.name", "AtanNet9"),
    "a neck or a head": (
        "Arch",
        {"name": "RecModel", "Backbone": {"name": "AtanNet8"}, "Neck": {"name": "Shrinks"}},
    ),
    "an answer": ("Infer.PostProcess", {"name": "OnlyIfSured", "topk": None, "class_id_map_file": None}),
    "a transform": ("DataLoader.Train.dataset.transform_ops", [{"DecodeImage": {}}, {"RandInvertImages": {}}]),
    "a batch transform": ("DataLoader.Train.dataset.batch_transform_ops", [{"DimOperater": {}}]),
    "a data set": ("DataLoader.Train.dataset.name", "ClassFolder"),
    "a sampler": ("DataLoader.Train.sampler.name", "PartsBatchSampler"),
    "a loss": ("Loss.Train", [{"ModestLos": {}}]),
    "a metric": ("Metric.Eval", [{"SureAc": {}}]),
    "an optimizer": ("Optimizer.name", "AdaMax"),
    "a schedule": ("Optimizer.lr.name", "InverseRoots"),
    "a hook": ("Global.tell_gradient", True),
    "a key": ("Global.run_names", "x"),
}
"""What a user may write instead of a name or key, by section."""


def called(command, config, *arguments):
    """All that a command printed, which must not fail."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = cli.main([command, "-c", str(config), *arguments])
    if code:
        sys.exit(f"{command}: {errors.getvalue()}")
    return out.getvalue() + errors.getvalue()


def written(root, config):
    """A file with a configuration."""
    path = root / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def misspelt(root, config, key, value):
    """What is said of a name or key that does not exist."""
    *sections, last = key.split(".")
    wrong = {last: value}
    for section in reversed(sections):
        wrong = {section: wrong}
    try:
        read_config(argparse.Namespace(config=written(root, merged(config, wrong)), override=[]))
    except UserError as error:
        return str(error)
    return ""


def refused(*words):
    """What a command says that fails."""
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = cli.main(list(words))
    return errors.getvalue() if code else ""


def trained(root, base, configs):
    """A run with all that training can have, and the same run once more from where it was."""
    config = base
    for title in set(configs) - {_BACKEND, "a quantizer", "a neck or a head", "an answer"}:
        config = merged(config, configs[title])
    config["DataLoader"]["Train"]["dataset"].pop("cls_label_path")  # of the data set that was there before
    log = root / "output" / "first_try"
    first = called("train", written(root, config), "-o", "Global.epochs=1")
    resumed = called("train", written(root, config), "-o", "Global.epochs=2", "-o", f"Global.checkpoints={log}/latest")
    called("train", written(root, config), "-o", "Global.epochs=2", "-o", "Global.run_name=whole")
    states = checkpoint.read_states(log / "latest")
    told = {"first": first, "resumed": resumed, "settings": states["settings"], "progress": states["progress"]}
    told["same"] = same(
        *(paddle.load(str(root / "output" / run / "latest.pdparams")) for run in ("first_try", "whole"))
    )
    return config, {**told, "steps": checkpoint.read_record(log / "latest")["steps"]}


def same(first, second):
    """Whether two states are equal bit for bit."""
    return first.keys() == second.keys() and all((first[name] == second[name]).all().item() for name in first)


def backed(root, base, configs):
    """What a network keeps that another backend chose from."""
    config = load_config(written(root, merged(merged(base, configs["a backbone"]), configs[_BACKEND])))
    _, record = assemble.build_model(config, context=Context())
    return record["steps"]


_BACKEND = "a way to choose what is pruned"


def answering(config, answer):
    """The configuration with another answer, whose options are its own."""
    return {**config, "Infer": {**config["Infer"], **answer["Infer"]}}


def features(config, root):
    """The shape of what a recognition model gives."""
    del config["Arch"]["class_num"]
    model = assemble.build_dense(load_config(written(root, config)))
    return model(paddle.zeros([2, 3, 8, 8]))["features"].shape


def fused():
    """The operators that are left of a graph, where the packages for that are installed."""
    from ppcls_compress.deploy.extras import TO_ONNX, missing

    if missing(TO_ONNX[1:]):
        return None
    import numpy as np
    from support.onnx_graphs import ops, parse

    from ppcls_compress.deploy.onnx.simplify import simplify

    model = parse("a = Mul(x, one)  y = Mul(a, two)", x=("n", 2), y=("n", 2), one=np.float32(1), two=np.float32(2))
    simplify(model)
    return ops(model)


def main(folder):
    """All of it, in one process."""
    root = Path(folder)
    configs = json.loads((root / "configs.json").read_text())
    path = make_project(root / "project")
    base = yaml.safe_load(path.read_text())
    root = path.parent
    for label in range(3):
        (root / "folders" / str(label)).mkdir(parents=True)
    for index, image in enumerate(sorted((root / "images" / "train").iterdir())):
        shutil.copy(image, root / "folders" / str(index % 3))
    os.environ["CLASS_FOLDERS"] = str(root / "folders")
    found = {"misspelt": {title: misspelt(root, base, *wrong) for title, wrong in MISSPELT.items()}}
    found["misspelt"]["a format"] = refused("export_model", "-c", str(path), "--format", "paddle-cpy")
    found["misspelt"]["a runtime"] = refused("infer", "-c", str(path), "--artifact", "x", "--runtime", "jits")
    found["misspelt"]["a command"] = refused("cuont")
    config, found["trained"] = trained(root, base, configs)
    start = ["-o", f"Global.pretrained_model={root}/output/first_try/latest"]
    found["contradicted"] = refused("eval", "-c", str(written(root, config)), *start, "-o", "Slim.sparse.share=0.5")
    found["backed"] = backed(root, base, configs)
    found["count"] = called("count", written(root, config))
    found["measured"] = called("sensitivity", written(root, config), *start, "--images", "4")
    found["sensitivities"] = json.loads((root / "output/first_try/sensitivity/sensitivity.json").read_text())
    found["exported"] = called("export_model", written(root, config), *start, "--format", "paddle-copy", "jit")
    found["files"] = sorted(str(file.relative_to(root)) for file in (root / "inference").rglob("*.*"))
    quantized = merged(config, configs["a quantizer"])
    found["quantized"] = called("quantize", written(root, quantized), *start)
    found["steps"] = checkpoint.read_record(root / "output/first_try/quantized")["steps"]
    found["answers"] = called("infer", written(root, answering(config, configs["an answer"])), *start)
    found["features"] = features(merged(base, configs["a neck or a head"]), root)
    found["fused"] = fused()
    (Path(folder) / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])

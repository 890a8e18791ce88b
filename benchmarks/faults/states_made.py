"""A checkpoint of a pruned, quantized and averaged network, its sensitivities, and its export, to be mutated."""

from __future__ import annotations

from pathlib import Path

from support.project import make_project

from ppcls_compress.cli import main


def make(folder: Path) -> tuple[Path, Path]:
    """Where the checkpoint is, without an ending, and the folder of the exported model."""
    folder.mkdir()
    config = make_project(folder, EMA={"decay": 0.9})
    prefix = folder / "output/CIFARResNet8/latest"
    slim = ["Slim.prune={name: fpgm, pruned_ratio: 0.3}", "Slim.quant={name: pact}"]
    more = ["Global.epochs=1", "Global.save_format=safetensors", "Global.keep_last=1", "Global.save_interval=0"]
    _run("train", config, *more, *slim)
    study = folder / "study"
    _run(
        "sensitivity",
        config,
        f"Global.pretrained_model={prefix}",
        "Slim.quant=null",
        words=["--out", str(study), "--images", "4"],
    )
    (study / "sensitivity.json").rename(f"{prefix}.sensitivities.json")
    _run("export_model", config, f"Global.pretrained_model={prefix}", f"Global.save_inference_dir={folder}/artifact")
    return prefix, folder / "artifact"


def _run(command: str, config: Path, *overrides: str, words: tuple[str, ...] | list[str] = ()) -> None:
    code = main([command, *words, "-c", str(config), *(part for text in overrides for part in ("-o", text))])
    if code:
        raise SystemExit(f"{command} ended with {code}")

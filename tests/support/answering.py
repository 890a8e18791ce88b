"""The process that asks exported models: `python -m support.answering WANTED IMAGES`.

WANTED is a JSON list of folders and runtimes; the logits are written to `RUNTIME.npy` in each folder.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ppcls_compress.deploy.predictor import Predictor

if __name__ == "__main__":
    images = np.load(sys.argv[2])
    for folder, runtime in json.loads(Path(sys.argv[1]).read_text()):
        np.save(f"{folder}/{runtime}.npy", Predictor(folder, threads=1, runtime=runtime).logits(images))

"""The process that runs a program for oneDNN on images: `python -m support.onednn_child FOLDER`."""

import sys
from pathlib import Path

import numpy as np

from ppcls_compress.deploy.paddle import onednn
from ppcls_compress.deploy.paddle.inference import PaddleSession

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    images = np.load(folder / "images.npy")
    np.save(folder / "outputs.npy", PaddleSession(onednn.create(folder, 1)).run(images))

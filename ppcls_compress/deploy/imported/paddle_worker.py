"""The process that runs a user's program in Paddle Inference, which ends on what it cannot read.

`python -m ppcls_compress.deploy.imported.paddle_worker PROGRAM PARAMETERS IMAGES ANSWERS` writes what a program answers
to images, [N, C, H, W], to ANSWERS, an array for each of its outputs.
"""

from __future__ import annotations

import sys

import numpy as np
from paddle import inference

from ppcls_compress.errors import UserError, first_line


def _main(program: str, parameters: str, images: str, answers: str) -> None:
    config = inference.Config(program, parameters)
    config.disable_gpu()
    config.disable_glog_info()
    config.disable_mkldnn()  # whose kernels err for some networks; see `deploy.paddle.formats`
    given = np.load(images, allow_pickle=False)
    try:
        predictor = inference.create_predictor(config)
        source = predictor.get_input_handle(predictor.get_input_names()[0])
        source.reshape(given.shape)
        source.copy_from_cpu(given)
        predictor.run()
        names = predictor.get_output_names()
        found = [predictor.get_output_handle(name).copy_to_cpu() for name in names]
    except (RuntimeError, ValueError, OSError) as error:  # Paddle's own kinds are derived from these
        raise UserError(first_line(error)) from error
    np.savez(answers, **{str(position): array for position, array in enumerate(found)})


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""The formats that Paddle Inference runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.deploy.kinds import Format, Job, Opener, Runtime, Session, Setting
from ppcls_compress.deploy.paddle.files import OLDER_PROGRAM, PROGRAM

if TYPE_CHECKING:
    import numpy as np

    from ppcls_compress.deploy.notes import Written
    from ppcls_compress.deploy.paddle.inference import OneDNN


def _write_paddle(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy.paddle import export as paddle_export

    return paddle_export.write(job, folder)


def _paddle_opener(onednn: OneDNN) -> Opener:
    def load(folder: Path, threads: int) -> Session:
        from ppcls_compress.deploy.paddle.inference import PaddleSession, create

        return PaddleSession(create(folder, threads, onednn))

    return load


_SAFER = (
    Setting(
        "apart",
        "products apart",
        _paddle_opener("apart"),
        'products are not fused with the sums after them (elsewhere config.delete_pass("matmul_add_act_fuse_pass"))',
    ),
    Setting(
        "fused",
        "convolutions alone on oneDNN",
        _paddle_opener("fused"),
        "oneDNN computes convolutions and what it fuses with them alone (elsewhere "
        'config.delete_pass("onednn_placement_pass")), which is slower',
    ),
    Setting(
        "plain",
        "without oneDNN",
        _paddle_opener("off"),
        "runs without oneDNN (elsewhere config.disable_mkldnn()), which is slower",
    ),
)


def _write_onednn(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy.paddle import onednn

    return onednn.export(job.model, folder, image_shape=job.image_shape, ending=job.ending)


def _open_onednn(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.paddle import onednn
    from ppcls_compress.deploy.paddle.inference import PaddleSession

    return PaddleSession(onednn.create(folder, threads))


def _onednn_kernels(folder: Path) -> dict[str, tuple[int, int]]:
    from ppcls_compress.deploy.paddle import onednn_kernels

    return onednn_kernels.count(folder)


def _write_lite(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy.paddle import lite

    return lite.export(job.model, folder, image_shape=job.image_shape, ending=job.ending)


def _open_lite(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.paddle import lite
    from ppcls_compress.deploy.paddle.inference import PaddleSession

    return PaddleSession(lite.create(folder, threads))


def _explainer(held: str) -> Callable[[Job, Path, np.ndarray], str | None]:
    def explain(job: Job, folder: Path, images: np.ndarray) -> str | None:
        from ppcls_compress.deploy.paddle import explaining

        return explaining.explain(job.model, images, explaining.HELD[held])

    return explain


FORMATS = (
    Format(
        name="paddle",
        folder="",
        files=PROGRAM,
        runtimes=(Runtime("paddle", "Paddle Inference", _paddle_opener("all"), safer=_SAFER),),
        agreement=0.98,
        mean=0.02,
        write=_write_paddle,
        explain=_explainer("paddle"),
        companions=("onednn",),
    ),
    Format(
        name="onednn",
        folder="onednn",
        files=OLDER_PROGRAM,
        runtimes=(Runtime("paddle", "Paddle Inference on oneDNN's integer kernels", _open_onednn, _onednn_kernels),),
        agreement=0.98,
        mean=0.05,
        write=_write_onednn,
        explain=_explainer("onednn"),
        selectable=False,
        any_grid=False,
    ),
    Format(
        name="paddle-lite",
        folder="paddle-lite",
        files=OLDER_PROGRAM,
        runtimes=(Runtime("paddle", "Paddle Inference", _open_lite),),
        agreement=0.98,
        mean=0.05,
        write=_write_lite,
        explain=_explainer("paddle-lite"),
        any_grid=False,
        elsewhere="Paddle Lite",
    ),
)

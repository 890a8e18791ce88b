"""Whether exported networks can be judged on the same images, prepared in one way for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ppcls_compress.config.schema import Config
from ppcls_compress.deploy.artifact import Artifact
from ppcls_compress.engine.doubts.preparation import differing
from ppcls_compress.errors import shortened


def doubts(config: Config, networks: Mapping[str, Artifact]) -> Iterator[str]:
    """A line for each network whose score is not its own.

    Args:
        config: its `DataLoader.Eval` says what they are judged on.
        networks: by name; the first one's names of classes are those of the images.
    """
    ops = config.DataLoader.Eval.dataset.transform_ops
    first, *_ = networks
    names = networks[first].description.class_names
    for name, found in networks.items():
        preprocess, own = found.description.preprocess, found.description.class_names
        unlike = differing(ops, preprocess) if ops and preprocess else []
        if unlike:
            what = ", ".join(unlike)
            yield f"{name}: was made for images prepared otherwise, in {what}; its score here is that of other values"
        if names and own and len(own) == len(names) and own != names:
            at = next(index for index, pair in enumerate(zip(names, own, strict=True)) if pair[0] != pair[1])
            yield (
                f"{name}: calls class {at} {shortened(own[at])}, and {first} {shortened(names[at])}; if the classes "
                "stand in another order, its score here means nothing"
            )

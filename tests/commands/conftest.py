from __future__ import annotations

import pytest
from support.commands import QUANT, call
from support.project import make_project


@pytest.fixture(scope="session")
def trained_config(tmp_path_factory):
    """A project whose quantized model is trained."""
    root = tmp_path_factory.mktemp("formats")
    config = make_project(root)
    assert call("train", config, QUANT, "Global.epochs=2") == 0
    return config


@pytest.fixture
def trained(trained_config, tmp_path):
    """Overrides that export the trained model into an empty folder."""
    weights = f"Global.pretrained_model={trained_config.parent}/output/CIFARResNet8/latest"
    return (QUANT, weights, f"Global.save_inference_dir={tmp_path}/inference")

from types import SimpleNamespace

import pytest

from ppcls_compress.config.auto import Auto
from ppcls_compress.deploy.measure.layers import Table
from ppcls_compress.errors import ConfigError
from ppcls_compress.search import preparing


def test_latencies_of_another_runtime_are_refused(tmp_path):
    file = tmp_path / "profile.json"
    Table({"runtime": "openvino"}, {}).save(file)
    auto = Auto(max_drop=1, target={"latency": 0.5}, runtime="onnx-ort")
    workshop = SimpleNamespace(profile=file, config=SimpleNamespace(Slim=SimpleNamespace(auto=auto)))
    with pytest.raises(ConfigError, match=r"--profile: .*profile.json is of openvino, .* means onnxruntime"):
        preparing.prepare(workshop)
    Table({"runtime": "onnxruntime"}, {}).save(file)
    preparing._check_profile(workshop)

import json

import pytest

from ppcls_compress.engine import analysis_run
from ppcls_compress.errors import UserError


@pytest.mark.parametrize("content", [None, 3, [], {}, {"layers": 3}, {"layers": [3]}, {"layers": [{"causes": [{}]}]}])
def test_a_file_of_another_kind_is_told(tmp_path, content):
    file = tmp_path / "analysis.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"analysis\.json: is no analysis of quantization"):
        analysis_run._kept(file, {})

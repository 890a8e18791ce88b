"""A configuration of the small project, changed in places, without files."""

import yaml
from support.project import config as project

from ppcls_compress.config.load import validate
from ppcls_compress.config.overrides import apply_override
from ppcls_compress.config.yaml_text import parse_yaml


def configured(root, *overrides, without=()):
    data = parse_yaml(yaml.safe_dump(project(root)))
    for path in without:
        section, _, key = path.partition(".")
        (data[section] if key else data).pop(key or section)
    for text in overrides:
        apply_override(data, text)
    return validate(data, source="test")

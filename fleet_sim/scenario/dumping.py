"""Write a scenario as YAML: every field, quantities with their unit, defaults filled in."""

from typing import Any

import msgspec
import yaml

from fleet_sim.scenario.model import Scenario
from fleet_sim.scenario.nodes import resolve
from fleet_sim.scenario.units import enc_hook


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML knows YAML 1.1 and would leave `1e3` and `0o17` bare: numbers in YAML 1.2.
    # Line breaks of YAML 1.1 (U+0085, U+2028) it would fold into spaces; in double quotes they are
    # escaped.
    style = None if resolve(text) == text and text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(scenario: Scenario) -> str:
    """Canonical YAML; `loads(dump(scenario)) == scenario` for a scenario that is valid."""
    plain = _without_unset(msgspec.to_builtins(scenario, enc_hook=enc_hook))
    return yaml.dump(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=100,
    )


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_unset(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_unset(v) for v in value]
    return value

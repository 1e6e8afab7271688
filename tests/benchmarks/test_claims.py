import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from measuring import claims

    yield claims
    for name in [name for name in sys.modules if name.split(".")[0] == "measuring"]:
        del sys.modules[name]


def test_turns_alternate_and_ratios_compare_within_a_round(claims):
    order = []
    clock = {"slow": iter([9, 2, 20, 2]), "fast": iter([9, 1, 10, 4])}

    def contender(name):
        def run():
            order.append(name)
            return next(clock[name])

        return run

    taken = claims.in_turns({name: contender(name) for name in clock}, rounds=3)
    assert taken == {"slow": [2, 20, 2], "fast": [1, 10, 4]}
    assert order == ["fast", "slow", "slow", "fast", "fast", "slow", "slow", "fast"]
    assert claims.ratio(taken["slow"], taken["fast"]) == 2


@pytest.mark.parametrize(("value", "at_least", "met"), [(2, True, True), (1.4, True, False), (2, False, False)])
def test_a_claim_is_met_on_its_side_of_the_target(claims, value, at_least, met):
    assert claims.Claim("faster", value, 1.5, at_least=at_least).met is met

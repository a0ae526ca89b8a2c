"""Any CSV replays to the momentum and speed that pandas makes of it, to the last bit."""

import json
import random
import subprocess

import pandas as pd
import pytest

from conftest import PATIENCE_S, PROGRAMS

FILES = 24
LARGEST = 1 << 46


def table(chance):
    """Times and sizes as nobody would choose them: pauses, standstills, jumps, nothing, very much."""
    rows = chance.randint(1, 60)
    steps = [chance.choice([1, 5, 5, 5, 60, 86_400]) + chance.random() for _ in range(rows)]
    sizes = [chance.randrange(LARGEST)]
    for _ in range(rows - 1):
        change = chance.choice([0, 4096, -4096, chance.randrange(LARGEST), -chance.randrange(LARGEST)])
        sizes.append(min(max(sizes[-1] + change, 0), LARGEST))
    begin = pd.Timestamp("2019-11-16 21:56:16")
    times = begin + pd.to_timedelta(pd.Series(steps).cumsum().round(3), unit="s")
    return pd.DataFrame({"timestamp": times.dt.strftime("%Y-%m-%d %H:%M:%S.%f"), "rss": sizes})


@pytest.mark.parametrize("seed", range(FILES))
def test_any_csv_replays_to_what_pandas_makes_of_it(seed, tmp_path):
    chance = random.Random(seed)
    memory = table(chance)
    path = tmp_path / "memory.csv"
    memory.to_csv(path, index=False, header=chance.random() < 0.5)
    told = subprocess.run(
        [PROGRAMS / "hubmeter-collector", "replay", path, "--format", "json"],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    replayed = pd.DataFrame([json.loads(line) for line in told.splitlines()])
    # As in the notebook that the words come from.
    memory["mb"] = memory["rss"] / 1000**2
    memory["gb"] = memory["mb"] / 1000
    memory["momentum_gb"] = memory["gb"].diff().fillna(0)
    memory["speed_gb"] = memory["momentum_gb"].abs().shift(-1).fillna(0)
    assert len(replayed) == len(memory)
    assert (replayed["rss_bytes"] == memory["rss"]).all()
    for column in ["mb", "gb", "momentum_gb", "speed_gb"]:
        assert (replayed[column].astype(float) == memory[column]).all(), column

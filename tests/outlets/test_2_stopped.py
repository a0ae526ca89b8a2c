"""What is exported after the collector ended. Runs last: it ends it."""

import io
import json

import pandas as pd


def test_an_export_of_a_stopped_collector_has_every_row_the_api_told(stopped):
    bench, said = stopped
    told = json.loads(said)["columns"]
    csv = bench.export("--columns", "all", "--burst").stdout
    exported = pd.read_csv(io.BytesIO(csv), parse_dates=["timestamp"])
    at = pd.to_datetime(pd.Series(told["time"])).dt.tz_localize(None)
    assert at.isin(exported["timestamp"]).all()
    rss = exported.set_index("timestamp")["rss_bytes"]
    assert (rss.loc[at].to_numpy() == told["rss_bytes"]).all()
    assert len(exported) >= len(at)


def test_an_export_changes_nothing_in_the_data_directory(stopped):
    bench, _ = stopped
    files = lambda: {  # noqa: E731
        path.relative_to(bench.data): path.stat().st_mtime_ns
        for path in bench.data.rglob("*.db")
    }
    before = files()
    bench.export()
    assert files() == before

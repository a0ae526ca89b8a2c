"""What a running collector answers, and what is exported beside it, as pandas and pyarrow read it."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PARQUET = "application/vnd.apache.parquet"
FLAGS = {"burst"}
NUMBERS = {"cpu_cores"}


def window(bench, seconds=600):
    """A time that does not move while one answer is compared with another."""
    now = pd.Timestamp.now(tz="UTC").floor("s") - pd.Timedelta(seconds=2)
    text = (lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return f"&to={text(now)}", text(now - pd.Timedelta(seconds=seconds)), text(now)


def test_parquet_has_the_types_that_pyarrow_expects(running):
    headers, body = running.history(accept=PARQUET)
    assert headers["content-type"] == PARQUET
    schema = pq.read_schema(io.BytesIO(body))
    assert schema.field("time").type == pa.timestamp("ms", tz="UTC")
    assert not schema.field("time").nullable
    for name in schema.names[1:]:
        expected = pa.bool_() if name in FLAGS else pa.float64() if name in NUMBERS else pa.int64()
        assert schema.field(name).type == expected, name
        assert schema.field(name).nullable, name
    about = pq.read_metadata(io.BytesIO(body)).metadata
    assert about[b"hubmeter.from"].endswith(b"Z")


def test_parquet_json_and_csv_are_the_same_table(running):
    fixed, _, _ = window(running)
    columns = json.loads(running.history(fixed)[1])["columns"]
    table = pq.read_table(io.BytesIO(running.history(fixed + "&format=parquet")[1]))
    csv = pd.read_csv(io.BytesIO(running.history(fixed + "&format=csv")[1]), parse_dates=["time"])
    assert list(columns) == table.column_names == list(csv.columns)
    assert len(columns["time"]) > 5
    told = pd.to_datetime(pd.Series(columns["time"])).astype("datetime64[ms, UTC]")
    assert told.equals(table["time"].to_pandas().astype("datetime64[ms, UTC]"))
    assert told.equals(csv["time"].astype("datetime64[ms, UTC]"))
    for name, cells in columns.items():
        if name == "time":
            continue
        assert table[name].to_pylist() == cells, name
        empty = [None if pd.isna(cell) else cell for cell in csv[name]]
        assert empty == cells, name


def test_pandas_reads_times_with_their_zone_and_the_unknown_as_missing(running):
    body = io.BytesIO(running.history("&format=parquet")[1])
    frame = pd.read_parquet(body)
    assert isinstance(frame["time"].dtype, pd.DatetimeTZDtype)
    assert str(frame["time"].dtype.tz) == "UTC"
    assert frame["time"].is_monotonic_increasing
    assert frame["rss_bytes"].dtype == np.int64
    assert frame["burst"].dtype == bool
    assert frame["momentum_bytes"].isna().sum() >= 1, "an instance's first is unknown, not 0"
    nullable = pd.read_parquet(body, dtype_backend="numpy_nullable")
    assert nullable["momentum_bytes"].dtype == pd.Int64Dtype()
    assert nullable["cpu_cores"].dtype == pd.Float64Dtype()


def test_steps_come_as_parquet_with_their_length_in_the_footer(running):
    body = io.BytesIO(running.history("&step=1m&fields=rss_bytes,rss_bytes_max&format=parquet")[1])
    frame = pd.read_parquet(body)
    assert list(frame.columns) == ["time", "rss_bytes", "rss_bytes_max"]
    assert (frame["rss_bytes"] <= frame["rss_bytes_max"]).all()
    assert pq.read_metadata(body).metadata[b"hubmeter.step_ms"] == b"60000"


def test_a_time_without_samples_is_a_table_without_rows(running):
    body = io.BytesIO(running.history("&to=-59m&format=parquet")[1])
    frame = pd.read_parquet(body)
    assert len(frame) == 0
    assert isinstance(frame["time"].dtype, pd.DatetimeTZDtype)


def test_the_notebook_computes_from_an_export_what_the_api_tells(running):
    fixed, begin, end = window(running)
    csv = running.export(
        *("--columns", "timestamp,rss", "--no-header", "--from", begin, "--to", end)
    ).stdout
    # As the notebook has it.
    memory = pd.read_csv(io.BytesIO(csv), names=["timestamp", "rss"], parse_dates=["timestamp"])
    memory["MB"] = memory["rss"] / 1000**2
    memory["GB"] = memory["MB"] / 1000
    memory["momentum"] = memory["GB"].diff().fillna(0)
    memory["speed"] = memory["momentum"].abs().shift(-1).fillna(0)
    assert memory["timestamp"].dtype.kind == "M"
    assert len(memory) > 5

    columns = pd.DataFrame(json.loads(running.history(fixed)[1])["columns"])
    base = columns[~columns["burst"].astype(bool)].reset_index(drop=True)
    at = pd.to_datetime(base["time"]).dt.tz_localize(None)
    base = base[at.isin(memory["timestamp"])].reset_index(drop=True)
    assert (base["rss_bytes"].astype(np.int64) == memory["rss"]).all()
    # The first and the last row of a file know nothing beyond it.
    change = memory["rss"].diff()
    assert (base["momentum_bytes"][1:] == change[1:]).all()
    size = change.abs().shift(-1)
    assert (base["speed_bytes"][:-1] == size[:-1]).all()
    assert np.allclose(memory["momentum"][1:], base["momentum_bytes"][1:].astype(float) / 1e9, atol=1e-12)

    ours = pd.read_csv(
        io.BytesIO(
            running.export(
                *("--columns", "mb,gb,momentum,speed", "--from", begin, "--to", end)
            ).stdout
        ),
        dtype=str,  # older pandas round the last bit as they read
    ).astype(float)
    for name, notebook in [("mb", "MB"), ("gb", "GB"), ("momentum", "momentum"), ("speed", "speed")]:
        assert (ours[name] == memory[notebook]).all(), f"{name} to the last bit"


def test_what_is_exported_replays(running, tmp_path):
    file = tmp_path / "samples.csv"
    file.write_bytes(running.export().stdout)
    said = running.run("replay", file, "--format", "json").stdout
    replayed = pd.DataFrame([json.loads(line) for line in said.splitlines()])
    exported = pd.read_csv(file)
    assert list(exported.columns) == ["timestamp", "rss", "cpu_millis", "limit_bytes"]
    assert (replayed["rss_bytes"] == exported["rss"]).all()
    gb = exported["rss"] / 1000**2 / 1000
    assert np.allclose(replayed["momentum_gb"], gb.diff().fillna(0), atol=1e-15)


def test_an_export_as_parquet_is_the_one_as_csv(running, tmp_path):
    _, begin, end = window(running)
    asked = ("--columns", "all", "--burst", "--from", begin, "--to", end)
    file = tmp_path / "samples.parquet"
    file.write_bytes(running.export(*asked, "--format", "parquet").stdout)
    parquet = pd.read_parquet(file)
    csv = pd.read_csv(io.BytesIO(running.export(*asked).stdout), parse_dates=["timestamp"])
    assert list(parquet.columns) == list(csv.columns)
    assert isinstance(parquet["timestamp"].dtype, pd.DatetimeTZDtype)
    assert (parquet["timestamp"].dt.tz_localize(None) == csv["timestamp"]).all()
    assert parquet["instance"].nunique() == 1
    for name in csv.columns[2:]:
        left, right = parquet[name].astype(float), csv[name].astype(float)
        assert left.equals(right), name


def test_an_export_takes_no_lock_and_leaves_the_collector_at_work(running):
    before = len(pd.read_csv(io.BytesIO(running.export("--burst").stdout)))
    assert running.collector.poll() is None
    assert running.get("/readyz")[0] == 200
    running.until(
        lambda: len(pd.read_csv(io.BytesIO(running.export("--burst").stdout))) > before
    )


def test_mistakes_say_what_is_known(running):
    said = running.export("--columns", "timestamp,rsss", code=64).stderr.decode()
    assert '"rsss"' in said and "memory_used_bytes" in said
    assert b"--from" in running.export("--from", "soon", code=64).stderr
    said = running.export("--server", "gpu", code=1).stderr.decode()
    assert '"gpu"' in said and '--server is one of ""' in said
    said = running.run(
        *("export", "samples", "--data-dir", running.data, "--user", "nobody-here"), code=1
    )
    assert b'"nobody-here"' in said.stderr and said.stdout == b""
    empty = running.export("--to", "2019-11-17 00:00:00")
    assert empty.stdout == b"timestamp,rss,cpu_millis,limit_bytes\n"
    assert b"no samples" in empty.stderr

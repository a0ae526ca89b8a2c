"""Usage against the samples it was made of, once no more come. Runs after the collector ended."""

import io

import pandas


def test_usage_is_what_the_samples_come_to(stopped):
    bench, _ = stopped
    usage = bench.run("export", "usage", "--data-dir", bench.data).stdout
    usage = pandas.read_csv(io.BytesIO(usage))
    samples = bench.export("--columns", "all").stdout
    samples = pandas.read_csv(io.BytesIO(samples))
    hours = samples["interval_ms"] / 3.6e6
    gib_hours = samples["memory_used_bytes"] * hours / 2**30
    # To the last digits, and the time of one sample that is lost at midnight.
    lost = 1.5 / 3600
    peak = samples["memory_used_bytes"].max()
    assert abs(usage["hours_covered"].sum() - hours.sum()) < lost
    assert abs(usage["memory_gib_hours"].sum() - gib_hours.sum()) < lost * peak / 2**30
    assert usage["memory_peak_bytes"].max() >= peak

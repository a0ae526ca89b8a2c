"""Reports by pandas: columns, dtypes, and figures that agree with the samples."""

import io

import pandas

NUMBERS = [
    "memory_gib_hours",
    "cpu_core_hours",
    "hours_covered",
    "hours_unmeasured",
    "memory_peak_bytes",
]


def table(text):
    return pandas.read_csv(io.BytesIO(text), parse_dates=["date"])


def usage(bench, *arguments):
    return table(bench.run("export", "usage", "--data-dir", bench.data, *arguments).stdout)


def test_usage_has_dates_and_numbers_and_knows_what_is_unknown(running):
    days = usage(running)
    assert list(days.columns) == ["date", "window", "user", "servers", *NUMBERS]
    assert pandas.api.types.is_datetime64_any_dtype(days["date"])
    assert days["user"].unique().tolist() == [running.user]
    assert (days["memory_gib_hours"] > 0).all() and (days["memory_peak_bytes"] > 0).all()
    # Without a hub nobody says how long a server ran: unknown, and not nothing.
    assert days["hours_unmeasured"].isna().all()


def test_usage_is_served_as_it_is_exported(running):
    for question, arguments in [
        ("", []),
        ("?by=group", ["--by", "group"]),
        ("?window=week", ["--window", "week"]),
        ("?window=month&by=group", ["--window", "month", "--by", "group"]),
    ]:
        status, headers, body = running.get(f"/api/v1/reports/usage.csv{question}")
        assert status == 200, body
        assert headers["Content-Type"] == "text/csv; charset=utf-8"
        served, exported = table(body), usage(running, *arguments)
        assert served.dtypes.to_dict() == exported.dtypes.to_dict()
        assert served["date"].tolist() == exported["date"].tolist()
    assert served["group"].isna().all() and served["users"].tolist() == [1] * len(served)


def test_mistakes_are_told_by_code(running):
    done = running.run(
        "export", "usage", "--data-dir", running.data, "--from", "yesterday", code=64
    )
    assert b"--from" in done.stderr
    # Nobody asked a hub here.
    done = running.run("export", "hub-activity", "--data-dir", running.data, code=1)
    assert b"hub" in done.stderr

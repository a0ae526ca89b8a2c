"""What is exported after the collector was killed: its logs are still there to be read."""


def test_an_export_after_a_kill_has_every_row_that_was_exported_before(killed):
    bench, before = killed
    after = bench.export("--columns", "timestamp,rss").stdout
    assert after.startswith(before)
    assert before.count(b"\n") > 10
    logs = [path for path in bench.data.rglob("history/**/*.db-wal") if path.stat().st_size > 0]
    assert logs, "a kill leaves logs, else this shows nothing"

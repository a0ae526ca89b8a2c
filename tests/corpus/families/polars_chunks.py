"""Days of a web server's log, read in chunks with polars; each is filtered and summed up, or kept until the day is complete."""
import numpy, polars, random, time
def chunk():
    rows = int(ROWS * random.uniform(0.5, 1.5))
    return polars.DataFrame({
        "host": numpy.random.randint(0, 20_000, rows),
        "status": numpy.random.choice([200, 304, 404, 500], rows),
        "bytes": numpy.random.lognormal(8, 2, rows),
        "ms": numpy.random.exponential(30, rows),
    }).with_columns(polars.format("10.0.{}", "host").alias("address"))
while True:
    parts = []
    for _ in range(CHUNKS):
        part = chunk().filter(polars.col("status") < 500).with_columns((polars.col("bytes") / 1024).alias("kib"))
        parts.append(part if KEEPS else part.group_by("address").agg(polars.col("kib").sum(), polars.col("ms").mean()))
        del part
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    day = polars.concat(parts)
    del parts
    day.group_by("address").agg(polars.col("kib").sum()).sort("kib").head(20)
    time.sleep(random.uniform(10, 30))
    del day

"""SQLite in memory: batches are loaded and asked about; some delete what is old, some get an index in the end."""
import random, sqlite3, time
base = sqlite3.connect(":memory:")
base.execute("create table reading (batch integer, sensor integer, value real, note text)")
batch = 0
while True:
    if batch < BATCHES:
        batch += 1
        rows = [(batch, random.randrange(500), random.random(), f"reading {random.random()} of a sensor") for _ in range(ROWS)]
        base.executemany("insert into reading values (?, ?, ?, ?)", rows)
        base.execute("delete from reading where batch < ?", (batch - KEPT_BATCHES,))
        base.commit()
        if batch == BATCHES:
            base.execute("create index by_sensor on reading (sensor, value)")
    if batch % 20 == 0:
        base.execute("select sensor, avg(value) from reading group by sensor").fetchall()
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

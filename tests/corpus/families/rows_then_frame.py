"""Rows are collected in a list, made a table when all are there, looked at; then the next run."""
import pandas, random, time
while True:
    rows = []
    for step in range(STEPS):
        for _ in range(ROWS_PER_STEP):
            rows.append({"run": step, "score": random.random(), "label": f"row {len(rows)}", "weight": random.random()})
        time.sleep(STEP_SECONDS * random.uniform(0.5, 1.5))
    frame = pandas.DataFrame(rows)
    del rows
    for _ in range(random.randint(2, 6)):
        frame.describe()
        time.sleep(random.uniform(3, 12))
    del frame

"""A table is cleaned in many small steps; each gives a new name to its result, to be able to go back, or always the same one."""
import numpy, pandas, random, time
orders = pandas.DataFrame({
    "amount": numpy.random.gamma(2, 30, ROWS),
    "customer": numpy.random.randint(0, 5_000, ROWS),
    "day": pandas.Timestamp("2024-01-01") + pandas.to_timedelta(numpy.random.randint(0, 365, ROWS), unit="D"),
    "pieces": numpy.random.poisson(3, ROWS),
})
orders.loc[numpy.random.rand(ROWS) < 0.05, "amount"] = numpy.nan
steps = [
    lambda t: t.fillna({"amount": t.amount.median()}),
    lambda t: t.assign(weekday=t.day.dt.dayofweek),
    lambda t: t.sort_values("day").reset_index(drop=True),
    lambda t: t[t.pieces < t.pieces.quantile(0.999)],
    lambda t: t.assign(share=t.amount / t.groupby("customer")["amount"].transform("sum")),
    lambda t: t.assign(price=t.amount / t.pieces.clip(lower=1)),
]
versions, table = {}, orders
for number in range(STEPS):
    table = random.choice(steps)(table).copy()
    if KEEPS:
        versions[f"orders_{number}"] = table
    table.describe()
    time.sleep(random.expovariate(1 / THINK_SECONDS))
while True:
    table.head()
    time.sleep(random.uniform(20, 60))

"""A dashboard: readings of many sensors come in, join a table, and are drawn now and then; it holds the last so many, a shift's, or all."""
import io, matplotlib, numpy, pandas, random, time
matplotlib.use("Agg")
import matplotlib.pyplot as pyplot
columns = [f"sensor {number}" for number in range(SENSORS)]
table, second = pandas.DataFrame(columns=columns, dtype="float64"), 0
while True:
    second += 1
    readings = pandas.DataFrame(numpy.random.randn(int(ROWS * random.uniform(0.6, 1.4)), SENSORS), columns=columns)
    table = pandas.concat([table, readings], ignore_index=True).tail(ROWS_MAX)
    if second % SHIFT == 0:
        table = table.iloc[:0].copy()
    if second % 8 == 0:
        figure, axes = pyplot.subplots()
        axes.plot(table["sensor 0"].to_numpy()[-2_000:])
        figure.savefig(io.BytesIO())
        pyplot.close(figure)
    time.sleep(PAUSE_SECONDS * random.uniform(0.7, 1.3))

"""A join on a key that is not unique: one cell is harmless, the next takes everything."""
import numpy, pandas, random, time
keys = KEYS
for _ in range(6):
    left = pandas.DataFrame({"k": numpy.random.randint(0, keys, ROWS), "a": numpy.random.rand(ROWS)})
    right = pandas.DataFrame({"k": numpy.random.randint(0, keys, ROWS), "b": numpy.random.rand(ROWS)})
    left.merge(right, on="k").a.mean()
    time.sleep(random.uniform(10, 25))
done = []
for part in numpy.array_split(left, PARTS):
    done.append(part.merge(right, on="k"))
    time.sleep(PAUSE_SECONDS)
time.sleep(60)
del done
time.sleep(10_000)

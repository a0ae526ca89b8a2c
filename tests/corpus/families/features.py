"""Features are added to a table one after the other; then a model is fitted to all of them, and the table stays."""
import numpy, pandas, random, time, warnings
warnings.simplefilter("ignore")
frame = pandas.DataFrame({f"raw{i}": numpy.random.rand(ROWS) for i in range(4)})
time.sleep(random.uniform(5, 15))
for number in range(FEATURES):
    base, kind = frame[f"raw{number % 4}"], random.choice(["lag", "rolling", "dummies", "power"])
    if kind == "lag":
        frame[f"f{number}"] = base.shift(number + 1)
    elif kind == "rolling":
        frame[f"f{number}"] = base.rolling(50).mean()
    elif kind == "dummies":
        for level in range(4):
            frame[f"f{number}_{level}"] = (base * 4).astype("int8") == level
    else:
        frame[f"f{number}"] = base ** random.uniform(0.5, 3)
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
while True:
    matrix = frame.fillna(0).to_numpy(dtype="float64")
    numpy.linalg.solve(matrix.T @ matrix + numpy.eye(matrix.shape[1]), matrix.T @ matrix[:, 0])
    time.sleep(random.uniform(1, 4))
    del matrix
    time.sleep(random.uniform(10, 40))

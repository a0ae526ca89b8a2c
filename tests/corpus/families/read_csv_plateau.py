"""A large file is read once, then looked at: a steep rise that ends by itself."""
import numpy, os, pandas, random, tempfile, time
path = os.path.join(tempfile.mkdtemp(), "table.csv")
with open(path, "w") as file:
    file.write(",".join(f"c{i}" for i in range(12)) + "\n")
    for _ in range(ROWS // 1000):
        block = numpy.random.rand(1000, 12)
        numpy.savetxt(file, block, delimiter=",", fmt="%.6f")
time.sleep(20)
while True:
    parts = []
    for part in pandas.read_csv(path, chunksize=CHUNK_ROWS):
        parts.append(part)
        time.sleep(PAUSE_SECONDS)
    frame = pandas.concat(parts)
    del parts, part
    for _ in range(LOOKS):
        frame.groupby(frame.c0.round(1)).mean()
        time.sleep(random.uniform(3, 12))
    del frame
    time.sleep(30)

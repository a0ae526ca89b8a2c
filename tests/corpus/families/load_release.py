"""Load, work, let go, the next: somebody goes through a folder of files."""
import numpy, random, time
while True:
    parts = []
    size = random.uniform(0.4, 1.0) * MEGABYTES
    while sum(p.nbytes for p in parts) < size * 1e6:
        parts.append(numpy.ones(int(RATE_MEGABYTES * 1e6 / 8 * 0.5)))
        time.sleep(0.5)
    time.sleep(random.uniform(5, 40))
    del parts
    time.sleep(random.uniform(3, 25))

"""A generator pipeline over more data than fits: every block is dropped after use."""
import numpy, random, time
def blocks():
    while True:
        yield numpy.random.bytes(int(BLOCK_BYTES * random.uniform(0.3, 1.0)))
total = 0
for block in blocks():
    total += block.count(b"a")
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

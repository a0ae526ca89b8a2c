"""A leak that somebody sees and stops: the cell is interrupted, the list is cleared, work goes on."""
import os, random, time
while True:
    kept = []
    until = time.monotonic() + random.uniform(0.5, 1.5) * LEAK_SECONDS
    while time.monotonic() < until:
        kept.append(os.urandom(int(BYTES_PER_SECOND * 0.5)))
        time.sleep(0.5)
    time.sleep(random.uniform(10, 60))
    if random.random() < CLEARED_SHARE:
        kept.clear()
    time.sleep(random.uniform(20, 60))

"""A list that is appended to for ever: the leak everybody writes first."""
import os, random, time
kept = []
while True:
    for _ in range(random.randint(1, 3)):
        kept.append(os.urandom(int(BYTES_PER_SECOND * PAUSE_SECONDS / 2)))
    time.sleep(PAUSE_SECONDS * random.uniform(0.7, 1.3))

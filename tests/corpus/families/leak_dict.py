"""A dictionary used as a cache without a bound: small objects, keys that never come again."""
import random, time
seen, number = {}, 0
while True:
    until = time.monotonic() + PAUSE_SECONDS
    for _ in range(int(ENTRIES_PER_SECOND * PAUSE_SECONDS)):
        number += 1
        seen[f"result-{number}"] = {"score": random.random(), "words": [str(number)] * 8}
    time.sleep(max(0.0, until - time.monotonic()))

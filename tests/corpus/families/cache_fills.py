"""A cache with a bound: it grows like a leak until it is full, and then it does not."""
import collections, os, random, time
cache = collections.OrderedDict()
number = 0
while True:
    number += 1
    cache[number] = os.urandom(int(ENTRY_BYTES * random.uniform(0.5, 1.5)))
    if len(cache) > ENTRIES_MAX:
        cache.popitem(last=False)
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

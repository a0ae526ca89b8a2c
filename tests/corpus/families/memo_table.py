"""Words are compared by a function that remembers all it was ever asked; that is forgotten now and then, bounded, or neither."""
import functools, random, time
@functools.lru_cache(maxsize=ENTRIES_MAX or None)
def distance(one, other):
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return distance(one[1:], other[1:])
    return 1 + min(distance(one[1:], other), distance(one, other[1:]), distance(one[1:], other[1:]))
def word():
    return "".join(random.choices("abcdefghijklmnopr", k=random.randint(5, 13)))
words = [word() for _ in range(3_000)]
while True:
    for _ in range(STEPS):
        asked = word()
        min(distance(asked, known) for known in random.sample(words, COMPARED))
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    if CLEARS:
        distance.cache_clear()
    time.sleep(random.uniform(5, 15))

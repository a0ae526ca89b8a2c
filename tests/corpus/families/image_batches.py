"""Batches of pictures; decoded ones stay in a cache of so many, what is made of them for a batch comes and goes."""
import collections, numpy, random, time
cache = collections.OrderedDict()
def picture(number):
    if number not in cache:
        side = random.randint(SIDE // 2, SIDE)
        cache[number] = numpy.random.randint(0, 255, (side, side, 3), dtype="uint8")
        if len(cache) > KEPT_MAX:
            cache.popitem(last=False)
    cache.move_to_end(number)
    return cache[number]
while True:
    for _ in range(BATCHES):
        batch = [picture(random.randrange(PICTURES)) for _ in range(BATCH)]
        turned = [p[::-1].astype("float32") / 255 for p in batch]
        sum(float(t.mean()) for t in turned)
        time.sleep(0.2)
        del batch, turned
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    time.sleep(random.uniform(5, 20))

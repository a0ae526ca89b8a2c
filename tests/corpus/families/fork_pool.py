"""multiprocessing with fork: children share the parent's memory until they write to it."""
import multiprocessing, numpy, random, time
data = numpy.random.rand(CELLS)
def work(share):
    part = data[: int(len(data) * share)]
    part *= 1.0001
    time.sleep(random.uniform(1, 4))
    return float(part[0])
context = multiprocessing.get_context("fork")
while True:
    with context.Pool(WORKERS) as pool:
        pool.map(work, [random.uniform(0.1, WRITTEN_SHARE) for _ in range(WORKERS * 4)])
    time.sleep(random.uniform(5, 20))

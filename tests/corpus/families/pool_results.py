"""A pool works through a list; its results come back and pile up in the parent until the list is done."""
import multiprocessing, numpy, random, time
def work(number):
    chance = random.Random(number)
    time.sleep(chance.expovariate(1 / TASK_SECONDS))
    return numpy.random.rand(int(CELLS * chance.uniform(0.3, 1)))
while True:
    results = []
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        for result in pool.imap_unordered(work, range(TASKS)):
            results.append(result)
    whole = numpy.concatenate(results)
    del results
    for _ in range(random.randint(1, 4)):
        whole.mean()
        time.sleep(random.uniform(3, 12))
    del whole
    time.sleep(random.uniform(3, 12))

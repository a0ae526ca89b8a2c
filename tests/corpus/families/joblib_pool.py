"""A loky pool: workers start, get their own copies, idle, are let go, come back."""
import joblib, numpy, random, time
def work(n):
    a = numpy.random.rand(n)
    a.sort()
    time.sleep(random.uniform(0.2, 1.0))
    return float(a[0])
while True:
    joblib.Parallel(n_jobs=WORKERS)(joblib.delayed(work)(int(CELLS * random.uniform(0.3, 1))) for _ in range(TASKS))
    time.sleep(random.uniform(5, 30))

"""A notebook of a few cells, run from top to bottom again and again: an old name goes when the new one is there."""
import numpy, pandas, random, time
kept = []
def think():
    time.sleep(random.expovariate(1 / THINK_SECONDS))
for run in range(RUNS):
    raw = pandas.DataFrame(numpy.random.rand(ROWS, 10))
    think()
    clean = raw[raw[0] > 0.05].sort_values(1).reset_index(drop=True)
    think()
    wide = pandas.concat([clean, clean**2, numpy.log1p(clean)], axis=1)
    think()
    numpy.linalg.lstsq(wide.to_numpy()[:50_000], clean[0].to_numpy()[:50_000], rcond=None)
    think()
    if KEPT_SHARE > 0:
        kept.append(wide.sample(frac=KEPT_SHARE))
while True:
    clean.mean()
    think()

"""Chains of samples in an array made for all of them: its pages come as they are filled; some keep every chain."""
import numpy, random, time
kept = []
while True:
    chain = numpy.empty((SAMPLES, WIDTH))
    for start in range(0, SAMPLES, STEP):
        chain[start : start + STEP] = numpy.random.randn(len(chain[start : start + STEP]), WIDTH)
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    numpy.quantile(chain[:, :4], [0.05, 0.5, 0.95], axis=0)
    time.sleep(random.uniform(2, 10))
    if KEEPS:
        kept.append(chain)
    del chain
    time.sleep(random.uniform(2, 15))

"""Arithmetic on large arrays: temporaries come and go many times a minute, nothing is kept."""
import numpy, random, time
a = numpy.random.rand(CELLS)
while True:
    b = (a * 2 + 1) / (a + 3) - numpy.sqrt(a)
    c = b[b > 0].copy()
    time.sleep(random.uniform(0.1, 1.0) * PAUSE_SECONDS)
    del b, c
    time.sleep(random.uniform(0.5, 3.0) * PAUSE_SECONDS)

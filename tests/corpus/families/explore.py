"""Somebody at work: loads, looks, copies a column, thinks, throws things away, restarts nothing."""
import numpy, random, time
names = {}
while True:
    action = random.random()
    if action < 0.45:
        names[random.randint(0, 9)] = numpy.random.rand(int(CELLS * random.uniform(0.05, 1)))
    elif action < 0.65 and names:
        names.pop(random.choice(list(names)))
    elif action < 0.85 and names:
        key = random.choice(list(names)); names[key] = numpy.sort(names[key])[: int(CELLS * 0.6)].copy()
    else:
        sum(a.sum() for a in names.values())
    time.sleep(random.expovariate(1 / THINK_SECONDS))

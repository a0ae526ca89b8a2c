"""Simulated annealing that keeps every tour it accepted: many while it is hot, hardly any when it is cold."""
import math, random, time
places = [complex(random.random(), random.random()) for _ in range(PLACES)]
tour, history, temperature = list(range(PLACES)), [], 1.0
def around(at):
    here = places[tour[at]]
    return abs(here - places[tour[at - 1]]) + abs(here - places[tour[(at + 1) % PLACES]])
while True:
    for _ in range(MOVES):
        a, b = random.randrange(PLACES), random.randrange(PLACES)
        before = around(a) + around(b)
        tour[a], tour[b] = tour[b], tour[a]
        if random.random() < math.exp(min(0.0, (before - around(a) - around(b)) / temperature)):
            history.append(tour.copy())
        else:
            tour[a], tour[b] = tour[b], tour[a]
    temperature = max(temperature * COOLING, 1e-6)
    time.sleep(PAUSE_SECONDS * random.uniform(0.7, 1.3))

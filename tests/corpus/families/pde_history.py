"""Heat spreads over a plate, step by step; a picture is to be made of it later, so states are kept: all, or one in so many."""
import numpy, random, time
while True:
    plate, history = numpy.zeros((SIDE, SIDE)), []
    plate[SIDE // 3 : SIDE // 2, SIDE // 4 : SIDE // 2] = 100.0
    for step in range(STEPS):
        inner = plate[1:-1, 1:-1]
        inner += 0.2 * (plate[2:, 1:-1] + plate[:-2, 1:-1] + plate[1:-1, 2:] + plate[1:-1, :-2] - 4 * inner)
        if step % KEEP_EVERY == 0:
            history.append(plate.copy())
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    [float(state.mean()) for state in history]
    time.sleep(random.uniform(5, 20))
    del history
    time.sleep(random.uniform(5, 20))

"""A sliding puzzle searched layer by layer: every state seen is remembered; small ones end, large ones do not."""
import random, time
SIZE = WIDTH * WIDTH
def next_to(state):
    hole = state.index(0)
    for there in (hole - WIDTH, hole + WIDTH, hole - 1, hole + 1):
        if 0 <= there < SIZE and (there // WIDTH == hole // WIDTH or there % WIDTH == hole % WIDTH):
            after = list(state)
            after[hole], after[there] = after[there], 0
            yield tuple(after)
while True:
    start = list(range(SIZE))
    random.shuffle(start)
    seen, layer = {tuple(start)}, [tuple(start)]
    while layer and len(seen) < STATES_MAX:
        following = []
        for number, state in enumerate(layer):
            for after in next_to(state):
                if after not in seen:
                    seen.add(after)
                    following.append(after)
            if number % STATES_PER_STEP == STATES_PER_STEP - 1:
                time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        layer = following
        time.sleep(1)
    time.sleep(random.uniform(5, 20))
    del seen, layer, following
    time.sleep(random.uniform(5, 20))

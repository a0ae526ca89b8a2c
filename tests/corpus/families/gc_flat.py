"""Reference cycles that only the collector frees: a sawtooth that comes back to where it was."""
import gc, random, time
gc.disable()
class Node:
    def __init__(self, size):
        self.me, self.load = self, bytearray(size)
        for i in range(0, size, 4096):
            self.load[i] = 1
while True:
    for _ in range(TEETH_STEPS):
        Node(int(STEP_BYTES * random.uniform(0.5, 1.5)))
        time.sleep(STEP_SECONDS * random.uniform(0.7, 1.3))
    gc.collect()

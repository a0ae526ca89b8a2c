"""The same sawtooth, but a part of every tooth stays: the leak is in the lows."""
import gc, random, time
gc.disable()
kept = []
class Node:
    def __init__(self, size):
        self.me, self.load = self, bytearray(size)
        for i in range(0, size, 4096):
            self.load[i] = 1
while True:
    for _ in range(TEETH_STEPS):
        node = Node(int(STEP_BYTES * random.uniform(0.5, 1.5)))
        if random.random() < KEPT_SHARE:
            kept.append(node)
        del node
        time.sleep(STEP_SECONDS * random.uniform(0.7, 1.3))
    gc.collect()

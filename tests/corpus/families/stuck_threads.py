"""Threads that wait for a lock nobody gives back: a new one every time, with its stack."""
import random, threading, time
lock = threading.Lock()
lock.acquire()
def wait():
    load = bytearray(STACK_BYTES)
    for i in range(0, STACK_BYTES, 4096): load[i] = 1
    lock.acquire()
threads = []
while len(threads) < THREADS_MAX:
    t = threading.Thread(target=wait, daemon=True)
    t.start(); threads.append(t)
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
time.sleep(10_000)

"""Processes that start processes, with a bound: children come faster than they go, then all go."""
import random, subprocess, sys, time
while True:
    running = []
    for _ in range(PROCESSES_MAX):
        running.append(subprocess.Popen([sys.executable, "-S", "-c", f"import time; a = bytearray({LOAD_BYTES}); a[::4096] = b'x' * len(a[::4096]); time.sleep({LIFE_SECONDS})"]))
        time.sleep(PAUSE_SECONDS * random.uniform(0.3, 1.7))
        running = [p for p in running if p.poll() is None]
    for p in running: p.wait()
    time.sleep(random.uniform(10, 30))

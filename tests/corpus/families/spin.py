"""A loop that never ends, in as many threads as told: processor time, and nothing else."""
import threading, time
def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
while True:
    threads = [threading.Thread(target=spin, args=(SPIN_SECONDS,)) for _ in range(THREADS)]
    for t in threads: t.start()
    for t in threads: t.join()
    time.sleep(REST_SECONDS)

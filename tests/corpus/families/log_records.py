"""A job logs what it does and its notebook keeps the records, to show them: all, the last so many, errors with what they hold."""
import collections, logging, random, time
class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = collections.deque(maxlen=RECORDS_MAX or None)
    def emit(self, record):
        self.records.append(record)
log = logging.getLogger("orders")
log.setLevel(logging.DEBUG)
log.propagate = False
log.addHandler(Kept())
def handled(number):
    parts = [random.random() for _ in range(PARTS)]
    log.debug("order %s: %s", number, {"sum": sum(parts), "first": [f"part {part:.6f}" for part in parts[:12]]})
    if random.random() < ERROR_CHANCE:
        raise ValueError(f"order {number} has no address")
number = 0
while True:
    for _ in range(BATCH):
        number += 1
        try:
            handled(number)
        except ValueError:
            log.exception("order %s failed", number)
    time.sleep(random.expovariate(1 / PAUSE_SECONDS))

"""A small network is trained on digits; after each epoch its weights and what it says of the test half are kept, all or the best."""
import numpy, random, time
x = numpy.random.rand(PICTURES, 784).astype("float32")
y = numpy.eye(10, dtype="float32")[numpy.random.randint(0, 10, PICTURES)]
while True:
    first = numpy.random.normal(0, 0.05, (784, WIDTH)).astype("float32")
    second = numpy.random.normal(0, 0.05, (WIDTH, 10)).astype("float32")
    history, best = [], None
    for epoch in range(EPOCHS):
        for start in range(0, PICTURES // 2, 256):
            batch = x[start : start + 256]
            hidden = numpy.maximum(batch @ first, 0)
            wrong = hidden @ second - y[start : start + 256]
            back = (wrong @ second.T) * (hidden > 0)
            second -= 1e-4 * hidden.T @ wrong
            first -= 1e-4 * batch.T @ back
            time.sleep(0.01)
        said = numpy.maximum(x[PICTURES // 2 :] @ first, 0) @ second
        loss = float(((said - y[PICTURES // 2 :]) ** 2).mean())
        state = (loss, epoch, first.copy(), second.copy(), said)
        if KEEPS:
            history.append(state)
        elif best is None or loss < best[0]:
            best = state
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    del state
    time.sleep(random.uniform(5, 20))

"""A training loop: warm-up, then the same batches for ever, with a checkpoint now and then."""
import io, numpy, random, time
weights = [numpy.random.rand(WIDTH, WIDTH).astype("float32") for _ in range(LAYERS)]
time.sleep(8)
moments = [numpy.zeros_like(w) for w in weights]
history, epoch = [], 0
while True:
    epoch += 1
    for step in range(40):
        batch = numpy.random.rand(64, WIDTH).astype("float32")
        for w, m in zip(weights, moments):
            batch = numpy.tanh(batch @ w)
            m *= 0.9
        history.append(float(batch.mean()))
        time.sleep(random.uniform(0.02, 0.2))
    if epoch % CHECKPOINT_EPOCHS == 0:
        buffer = io.BytesIO()
        numpy.savez(buffer, *weights)
        time.sleep(1)
        del buffer

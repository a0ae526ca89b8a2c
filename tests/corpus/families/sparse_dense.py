"""A sparse matrix made dense part by part, because a library wants it so; then stacked, fitted, let go."""
import numpy, random, scipy.sparse, time
while True:
    matrix = scipy.sparse.random(ROWS, COLUMNS, density=0.01, format="csr")
    time.sleep(random.uniform(5, 20))
    parts = []
    for start in range(0, ROWS, PART_ROWS):
        parts.append(matrix[start : start + PART_ROWS].toarray())
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    dense = numpy.vstack(parts)
    del parts
    for _ in range(random.randint(2, 6)):
        (dense.T @ dense[:, :5]).sum()
        time.sleep(random.uniform(2, 10))
    del dense
    time.sleep(random.uniform(5, 20))

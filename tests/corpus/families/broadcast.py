"""Distances of all pairs of points, block by block or at once: every try may have more points than the last."""
import numpy, random, time
points = POINTS
while True:
    places = numpy.random.rand(points, 3)
    distances = numpy.zeros((points, points))
    for start in range(0, points, BLOCK_ROWS):
        block = places[start : start + BLOCK_ROWS]
        for axis in range(3):
            distances[start : start + BLOCK_ROWS] += (block[:, None, axis] - places[None, :, axis]) ** 2
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    numpy.sqrt(distances).mean()
    time.sleep(random.uniform(2, 10))
    del distances, block
    time.sleep(random.uniform(5, 20))
    points = min(int(points * GROWTH), POINTS_MAX)

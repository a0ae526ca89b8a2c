"""A film of particles: every frame is drawn, and its pixels are kept until the film is written, or written at once."""
import io, matplotlib, numpy, random, time
matplotlib.use("Agg")
import matplotlib.pyplot as pyplot
from PIL import Image
figure, axes = pyplot.subplots(figsize=(WIDTH_INCHES, 0.75 * WIDTH_INCHES), dpi=100)
while True:
    places, frames = numpy.random.rand(POINTS, 2), []
    for number in range(FRAMES):
        places = (places + numpy.random.normal(0, 0.01, places.shape)) % 1
        axes.clear()
        axes.scatter(*places.T, s=4)
        axes.set_title(f"step {number}")
        figure.canvas.draw()
        pixels = numpy.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        if KEEPS:
            frames.append(pixels)
        else:
            Image.fromarray(pixels).save(io.BytesIO(), "png")
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    pictures = [Image.fromarray(frame).quantize(64) for frame in frames]
    if pictures:
        pictures[0].save(io.BytesIO(), "gif", save_all=True, append_images=pictures[1:])
    time.sleep(random.uniform(5, 20))
    del frames, pictures
    time.sleep(random.uniform(5, 20))
